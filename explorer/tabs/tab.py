"""A tab of the page."""

from __future__ import annotations

from collections.abc import Sequence

import panel as pn

from explorer.session import Output, Session


class Tab:
    """A tab, made when it is first opened: its outputs and its layout."""

    key = ""  # of `explorer.choices.state.TABS`

    def __init__(self, session: Session):
        self.session, self.state = session, session.state
        self.outputs: Sequence[Output] = self.make()
        for output in self.outputs:
            session.follow(output, self.key)

    def make(self) -> Sequence[Output]:
        """Make the outputs with their views."""
        raise NotImplementedError

    def layout(self) -> pn.Column:
        """Return what the tab shows."""
        raise NotImplementedError
