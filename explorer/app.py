"""The dashboard: `panel serve explorer/app.py`."""

import sys
from pathlib import Path

# `panel serve` looks for modules beside this file only; the repository need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import panel as pn

from explorer.layout import page
from explorer.session import warm_up

pn.extension(respect_explicit_sizing=True)
warm_up()
# One walk over all models instead of one for each root.
with pn.state.curdoc.models.freeze():
    page().servable()
