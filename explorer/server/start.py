"""What every server of the explorer does before its first page."""

import panel as pn
from bokeh.settings import settings

from explorer.server.bokeh_defaults import remember_defaults
from explorer.server.debounce import answer_soon
from explorer.server.websocket import changes_in_order, send_at_once


def prepare(design: type) -> None:
    """Load Panel with the page's design, and make the server quick; once, however often it is called."""
    # The template's design, for what changes later too: another one would send every text new stylesheets.
    pn.extension(design=design, respect_explicit_sizing=True)
    settings.perform_document_validation = False  # a walk over all models, for developers
    answer_soon()
    send_at_once()
    changes_in_order()
    remember_defaults()
