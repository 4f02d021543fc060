"""The dashboard: `panel serve explorer/app.py`, where the project is installed (`pip install -e .`)."""

import logging
from html import escape

import panel as pn
from bokeh.settings import settings
from panel.theme import Native

from explorer.page.design import PageDesign
from explorer.pipeline.warm_up import warm_up
from explorer.server.bokeh_defaults import remember_defaults
from explorer.server.debounce import answer_soon
from explorer.server.websocket import changes_in_order, send_at_once
from explorer.visit import page

# The template's design, for what changes later too: another one would send every text new stylesheets.
pn.extension(design=PageDesign, respect_explicit_sizing=True)
settings.perform_document_validation = False  # a walk over all models, for developers
answer_soon()
send_at_once()
changes_in_order()
remember_defaults()
warm_up()
try:
    # One walk over all models instead of one for each root.
    with pn.state.curdoc.models.freeze():
        page()
except Exception as error:
    logging.getLogger("explorer").exception("the page could not be made")
    # A ValueError is a sentence for people, such as that of damaged weights.
    sentence = (
        error if isinstance(error, ValueError) else "This page could not be made; the server's log says why."
    )
    pn.pane.HTML(f"<p role='alert'>{escape(str(sentence))}</p>", design=Native).servable(location=False)
