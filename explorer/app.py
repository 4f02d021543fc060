"""The dashboard: `panel serve explorer/app.py`."""

import panel as pn

from explorer.layout import page

pn.extension(respect_explicit_sizing=True)
page().servable()
