"""The page's address: Panel's model without its own parsing, and the browser's Back button."""

from __future__ import annotations

from typing import ClassVar

import panel as pn
from panel.io.location import Location

# Panel writes each change into the browser's history, and stays where it is when a person goes back. The
# choices are in the address, so a new page shows them.
BACK = "window.addEventListener('popstate', () => window.location.reload());"


class Address(Location):
    """`search` is the part that begins with "?", in the browser too.

    Panel parses it at every change for what is bound by `sync`, and fails at a stranger's words=²; nothing is
    bound here (`explorer.choices.url` reads it), so there is nothing to parse.
    """

    query_params: ClassVar[dict] = {}

    @classmethod
    def of_page(cls) -> Address:
        """Return the address that the current page was asked for by; an empty one without a server."""
        document = pn.state.curdoc
        if document is None or document.session_context is None:
            return cls()
        return cls.from_request(document.session_context.request)
