"""How the notebooks show figures, views and widgets: alike on a light and on a dark page."""

from __future__ import annotations

import io
import json
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import panel as pn
from bokeh.models import Axis, ColorBar, DataRange1d, FactorRange, Legend, Model, Plot, Title
from bokeh.plotting import figure
from bokeh.resources import INLINE
from IPython.display import display

from explorer.pipeline.pictures import Picture
from explorer.views.images import ImagesView
from explorer.views.theme import METHOD_COLORS, SELECTOR_COLORS, plot

# Set while the pictures are made that the saved notebooks hold: a page for each instead of a live widget.
SAVING = "NOTEBOOK_PICTURES" in os.environ
RECORDED = Path(__file__).parent / "recorded"
WIDTH, WIDGET_WIDTH = 860, 250  # pixels
TEXT = "#767C82"  # contrast above 4 to white and to black
SHOWN: weakref.WeakSet[pn.viewable.Viewable] = weakref.WeakSet()
# Okabe and Ito's palette, but for black and yellow: what has no colour of its own in the dashboard.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
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
td { opacity: 1 !important; }
.noUi-target { background-color: rgba(128, 128, 128, 0.4); }
"""


def start() -> None:
    """Load what widgets need into the page: to be called again when the page was opened anew."""
    if not SAVING:
        pn.extension(inline=True)  # nothing is fetched from the net
        pn.pane.HTML._update = _update_text


def show(*shown: Plot | pn.viewable.Viewable) -> None:
    """Display figures, views and widgets, one below the other."""
    panel = _styled(pn.Column(*shown, sizing_mode="stretch_width", max_width=WIDTH, margin=0))
    if SAVING:
        page = io.StringIO()
        panel.save(page, resources=INLINE)
        display({"text/html": page.getvalue()}, raw=True)
    else:
        SHOWN.add(panel)
        display(panel)


def follow(function: Callable, *widgets: object) -> Callable:
    """What `function` draws from the widgets' values, drawn anew when one of them is moved."""
    return pn.bind(lambda *values: _styled(pn.panel(function(*values))), *widgets)


def redraw(function: Callable, *widgets: object) -> object:
    """Call `function`, which draws in a view, whenever a widget is moved, and now; what it returns now."""

    def draw(*values):
        found = function(*values)
        pn.io.push_notebook(*SHOWN)  # unlike Panel's objects, Bokeh's do not tell the page that they changed
        return found

    return pn.bind(draw, *widgets, watch=True)()


def _update_text(pane: pn.pane.HTML, ref: str, model: Model) -> None:
    """As Panel does, but for its style sheets: it would send them anew, as addresses in the net."""
    properties = pane._get_properties(model.document)
    model.update(**{name: value for name, value in properties.items() if name != "stylesheets"})


def _styled(panel: pn.viewable.Viewable) -> pn.viewable.Viewable:
    for part in panel.select():
        if isinstance(part, pn.viewable.Viewable) and CSS not in part.stylesheets:
            part.stylesheets = [*part.stylesheets, CSS]
        if isinstance(part, pn.widgets.Widget):
            part.width = WIDGET_WIDTH
        if isinstance(part, pn.pane.Bokeh):
            for fig in part.object.select({"type": Plot}):
                _adapt(fig)
    return panel


def chart(
    curves: Mapping[str, tuple[Sequence, Sequence]],
    title: str,
    x: str,
    y: str,
    height: int = 280,
    dots: bool = True,
    legend: str = "right",
    whole: str = "",
    **options,
) -> figure:
    """Lines by name, each (x values, y values); `options` as Bokeh's figure takes them."""
    ranges = {"x_range": DataRange1d(), "y_range": DataRange1d()}
    fig = plot(title, x, y, height, whole, **ranges | options)
    for (name, (xs, ys)), color in zip(curves.items(), colors(curves), strict=True):
        style = dict(color=color, legend_label=name)
        fig.line(xs, ys, line_width=2, **style)
        if dots:
            fig.scatter(xs, ys, size=6, **style)
    _place_legend(fig, legend if len(curves) > 1 else "")
    _adapt(fig)
    return fig


def bars(values: Mapping[str, float], title: str, x: str, **options) -> figure:
    """Horizontal bars by name, the first on top."""
    names = list(values)
    fig = plot(
        title, x, "", 60 + 26 * len(names), x_range=DataRange1d(start=0), y_range=FactorRange(*names[::-1])
    )
    fig.hbar(names, right=list(values.values()), height=0.7, color=colors(values), **options)
    _adapt(fig)
    return fig


def colors(names: Sequence[str]) -> list[str]:
    """The dashboard's colour of a method or selector, or the next of the palette."""
    own = METHOD_COLORS | SELECTOR_COLORS
    spare = (c for c in COLORS * len(names) if c not in {own.get(name) for name in names})
    return [own[name] if name in own else next(spare) for name in names]


def _place_legend(fig: figure, place: str) -> None:
    if not place:
        fig.legend.visible = False
    elif place == "right":
        fig.add_layout(fig.legend[0], "right")
    else:
        fig.legend.location = place
    fig.legend.label_text_font_size = "12px"
    fig.legend.padding, fig.legend.spacing = 4, 0


def side_by_side(shown: Mapping[str, Picture]) -> pn.Column:
    """Pictures side by side, with their scores; they zoom together."""
    view = ImagesView()
    view.arrange({name: name for name in shown}, None)
    view.window.fit(*next(iter(shown.values())).rgb.shape[:2])
    for name, picture in shown.items():
        view.tile(name).show(picture)
    return view.grid


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
    """What `compute` returned when it was last run `live`, plain values from a file beside the notebooks."""
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


def _adapt(fig: Plot) -> None:
    """Transparent, with text of middle grey."""
    fig.background_fill_color = fig.border_fill_color = None
    fig.outline_line_alpha = 0.3
    for grid in fig.grid:
        grid.grid_line_color = TEXT
    for axis in fig.select({"type": Axis}):
        axis.axis_label_text_color = axis.major_label_text_color = TEXT
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = TEXT
    for title in fig.select({"type": Title}):
        title.text_color = TEXT
    for legend in fig.select({"type": Legend}):
        legend.label_text_color, legend.background_fill_alpha, legend.border_line_color = TEXT, 0, None
    for bar in fig.select({"type": ColorBar}):
        bar.title_text_color = bar.major_label_text_color = TEXT
        bar.background_fill_alpha = 0
