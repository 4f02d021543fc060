"""The dashboard: `panel serve explorer/app.py`, where the project is installed (`pip install -e .`)."""

import logging
import sys
from html import escape

import panel as pn
from panel.theme import Native

from explorer.given.owner import owners_catalog
from explorer.page.design import PageDesign
from explorer.pipeline.warm_up import warm_up
from explorer.server.start import prepare
from explorer.visit import page

prepare(PageDesign)
try:
    catalog = owners_catalog(tuple(sys.argv[1:]))  # of `panel serve explorer/app.py --args`
    warm_up(catalog)
    # One walk over all models instead of one for each root.
    with pn.state.curdoc.models.freeze():
        page(catalog)
except Exception as error:
    logging.getLogger("explorer").exception("the page could not be made")
    # A ValueError is a sentence for people, such as that of damaged weights.
    sentence = (
        error if isinstance(error, ValueError) else "This page could not be made; the server's log says why."
    )
    pn.pane.HTML(f"<p role='alert'>{escape(str(sentence))}</p>", design=Native).servable(location=False)
