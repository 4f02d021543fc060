"""How the notebooks show elements and widgets: alike on a light and on a dark page."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.resources import INLINE
from bokeh.settings import settings
from holoviews.core import Dimensioned
from IPython import get_ipython
from IPython.display import display

from explorer.elements.pictures import picture
from explorer.embed import BOTH, TEXT, Explorer  # noqa: F401 (TEXT is for the notebooks)
from explorer.pipeline.pictures import TRUTH, Picture
from explorer.server.notebook import Shown, load_into_page
from explorer.views.format import decibel

# Bokeh's check of layouts warns of pictures whose frame has a size and whose figure follows from it.
settings.perform_document_validation = False
# Set while the pictures are made that the saved notebooks hold: a page for each instead of a live widget.
SAVING = "NOTEBOOK_PICTURES" in os.environ
RECORDED = Path(__file__).parent / "recorded"
WIDTH, WIDGET_WIDTH = 860, 250  # pixels
CSS = """
:host, .bk-input, .bk-slider-title, label {
  color: var(--jp-content-font-color1, #767C82) !important;
  font-family: Helvetica, Arial, sans-serif !important;
}
.bk-input, .bk-btn { background-color: transparent !important; border-color: rgba(128, 128, 128, 0.6); }
.bk-btn { color: var(--jp-content-font-color1, #767C82) !important; }
.bk-btn.bk-active { background-color: #0072B2 !important; color: white !important; }
select.bk-input { background-image: none !important; appearance: auto !important; }
option { background-color: var(--jp-layout-color1, transparent); }
.noUi-target { background-color: rgba(128, 128, 128, 0.4); }
"""


def start() -> None:
    """Load what widgets need into the page: to be called again when the page was opened anew."""
    if not SAVING:
        load_into_page(again=True)


def show(*shown: Dimensioned | pn.viewable.Viewable) -> None:
    """Display elements and widgets, one below the other; while cells run, it is said that widgets wait."""
    parts = [part if isinstance(part, pn.viewable.Viewable) else _pane(part) for part in shown]
    panel = pn.Column(*parts, sizing_mode="stretch_width", max_width=WIDTH, margin=0)
    widgets = panel.select(pn.widgets.Widget)
    if widgets and not SAVING:
        panel.insert(0, Shown())
    for part in widgets:
        part.param.update(stylesheets=[*part.stylesheets, CSS], width=WIDGET_WIDTH)
    if SAVING:
        page = io.StringIO()
        panel.save(page, resources=INLINE)
        display({"text/html": page.getvalue()}, raw=True)
    else:
        display(panel)


def explored(app: Explorer) -> None:
    """Display the explorer, live; where nobody can use it, a sentence stands in its place."""
    if SAVING or getattr(get_ipython(), "kernel", None) is None:
        display(
            {"text/markdown": "*Here the explorer opens when the cell is run.*", "text/plain": repr(app)},
            raw=True,
        )
    else:
        display(app)


def _pane(element: Dimensioned) -> pn.pane.HoloViews:
    if isinstance(element, hv.Layout):
        element = element.opts(toolbar=None)
    return pn.pane.HoloViews(
        element, theme=BOTH, linked_axes=False, sizing_mode="stretch_width", margin=(0, 0, 8, 0)
    )


def follow(function: Callable[..., hv.Layout], *widgets: object) -> pn.viewable.Viewable:
    """Return the layout that `function` draws from the widgets' values; a DynamicMap holds one figure."""
    return pn.panel(pn.bind(lambda *values: _pane(function(*values)), *widgets))


def side_by_side(shown: Mapping[str, Picture]) -> hv.Layout:
    """Compose pictures with their scores side by side; they zoom together."""
    return hv.Layout([framed(name, one, len(shown)) for name, one in shown.items()]).cols(len(shown))


def framed(name: str, shown: Picture, number: int) -> hv.RGB:
    """Draw one of `number` pictures that stand side by side, under its name and scores."""
    return picture(shown, caption(name, shown), WIDTH // number - 18)


def caption(name: str, shown: Picture) -> str:
    """Write the name of a picture, and how near it is to what it is scored against."""
    if shown.psnr is None:
        return f"{name}\n" + ("ground truth" if shown.against == TRUTH else "")
    return f"{name}\n{decibel(shown.psnr)}, SSIM {shown.ssim:.3f}"


def table(head: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Display rows; numbers stand to the right, fractions with two digits."""
    numbers = [
        all(isinstance(v, int | float | np.number) for v in column) for column in zip(*rows, strict=True)
    ]
    lines = [head, ["--:" if number else "---" for number in numbers], *rows]
    lines = [[_cell(value) for value in line] for line in lines]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    display({"text/markdown": text, "text/plain": text}, raw=True)


def recorded(name: str, compute: Callable[[], object], live: bool) -> object:
    """Return what `compute` gave when it last ran `live`: plain values, in a file beside the notebooks."""
    path = RECORDED / f"{name}.json"
    if live:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(compute(), indent=1) + "\n")
    return json.loads(path.read_text())


def _cell(value) -> str:
    """A minus sign for a hyphen, and none before a zero."""
    if not isinstance(value, float | np.floating):
        return str(value)
    text = f"{value:.2f}".replace("-", "−")
    return text if float(text.replace("−", "-")) else text.lstrip("−")
