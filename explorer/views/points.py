"""The quantization points of one channel over its histogram, the staircase, and the selectors' errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import panel as pn
from bokeh.events import MouseEnter
from bokeh.models import ColumnDataSource, CustomJS, FactorRange, HoverTool, PointDrawTool, Range1d

from explorer.pipeline.points import BY_HAND, Points
from explorer.views.format import scientific, superscript
from explorer.views.theme import ACCENT, DIMMED, METHOD_COLORS, NEUTRAL, SELECTOR_COLORS, SHOWN, plot

# A finger scrolls the page; where there is a mouse, a drag moves a point.
WITH_A_MOUSE = "tool.active = matchMedia('(pointer: fine)').matches"
# The staircase of the points as they are dragged: the server hears of them when they are let go.
FOLLOW = """
const levels = [...new Set(points.data.x)].filter((x) => x != null).sort((a, b) => a - b);
const x = [axis.start], y = [];
levels.forEach((level, i) => {
  if (i) { const middle = (levels[i - 1] + level) / 2; x.push(middle, middle); }
  y.push(level, level);
});
x.push(axis.end);
if (levels.length) stairs.data = {...stairs.data, x: [x], y: [y]};
"""
TEXT = dict(sizing_mode="stretch_width", margin=0, css_classes=["text"])
TERMS = """<style>
.terms { max-height: 260px; overflow-y: auto; font-size: 12px }
.terms table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
.terms th { text-align: left; font-weight: 600 }
.terms td, .terms th { padding: 1px 8px 1px 0 }
.terms :is(td, th):nth-child(n+3) { text-align: right }
</style>"""


class PointsView:
    """Histogram and staircase share the horizontal axis; `facts`, `errors` and `terms` stand beside.

    `on_points(values)` is called when a person has moved, added or deleted some; it returns the valid
    points, None if there are none.
    """

    def __init__(self, on_points: Callable[[list[float]], list[float] | None] = lambda values: None):
        self._on_points = on_points
        self._placed: dict[str, np.ndarray] = {}
        self._data: Points | None = None
        self._bins = ColumnDataSource(dict(left=[], right=[], top=[]))
        self._levels = ColumnDataSource(dict(x=[], height=[], color=[]))
        self._candidates = ColumnDataSource(dict(x=[], y=[]))
        self._stairs = ColumnDataSource(dict(x=[], y=[], color=[]))
        self._errors = ColumnDataSource(dict(bar=[], ratio=[], error=[], color=[]))
        self._axis = Range1d(-1, 1)
        self.figures = [self._histogram(), self._staircase(), self._error_bars()]
        self._levels.on_change("data", self._moved)
        self.title = pn.pane.HTML("", **TEXT)
        self.facts = pn.pane.HTML("", **TEXT)
        self.terms = pn.pane.HTML("", **TEXT)
        histogram, staircase, self.errors = (
            pn.pane.Bokeh(fig, sizing_mode="stretch_width", margin=0) for fig in self.figures
        )
        self.errors.visible = False
        self.panel = pn.Column(
            histogram, staircase, sizing_mode="stretch_width", margin=0, css_classes=["empty"]
        )

    def wait(self) -> None:
        """Dim the points, which may be old, if that lasts."""
        if self._data is not None:
            self.panel.styles = DIMMED

    def accept_new(self, accepted: bool) -> None:
        """Let a tap on an empty place add a point, or not."""
        self._draw.add = accepted

    def _histogram(self):
        fig = plot("", "", "activations (log)", 154, x_range=self._axis, y_axis_type="log", name="histogram")
        fig.y_range = Range1d(0.5, 10)
        fig.quad("left", "right", "top", 0.5, source=self._bins, color=NEUTRAL, alpha=0.6, line_width=0)
        fig.segment("x", 0.5, "x", "height", source=self._levels, color="color", line_width=1.5)
        heads = fig.scatter("x", "height", source=self._levels, size=6, color="color")
        heads.nonselection_glyph = None
        self._draw = PointDrawTool(renderers=[heads], empty_value=ACCENT, add=False)
        fig.add_tools(self._draw)
        fig.toolbar.active_drag = fig.toolbar.active_tap = None
        fig.js_on_event(MouseEnter, CustomJS(args={"tool": self._draw}, code=WITH_A_MOUSE))
        ticks = fig.scatter("x", "y", source=self._candidates, marker="dash", angle=np.pi / 2, size=9)
        ticks.glyph.line_color = NEUTRAL
        fig.add_tools(HoverTool(renderers=[heads], tooltips="point @x{0.[0000]}"))
        return fig

    def _staircase(self):
        fig = plot("", "", "Q(x)", 110, x_range=self._axis, y_range=Range1d(-1, 1), name="staircase")
        fig.yaxis.ticker.desired_num_ticks = 3  # more would touch, and 0.2 steps make eight
        fig.multi_line("x", "y", source=self._stairs, color="color", line_width=2)
        args = dict(points=self._levels, stairs=self._stairs, axis=self._axis)
        self._levels.js_on_change("change", CustomJS(args=args, code=FOLLOW))
        return fig

    def _error_bars(self):
        fig = plot(
            "",
            "error, exact = 1",
            "",
            150,
            y_range=FactorRange(),
            name="errors",
        )
        bars = fig.hbar("bar", right="ratio", height=0.7, color="color", source=self._errors)
        fig.add_tools(HoverTool(renderers=[bars], tooltips="@bar: mean squared error @error"))
        fig.x_range.start = 0
        fig.xaxis.ticker.desired_num_ticks = 3
        return fig

    def _moved(self, attr: str, old: dict, new: dict) -> None:
        """Follow a person's changes; our own come here too, and late, when the document releases them."""
        if self._data is None or all(np.array_equal(new[name], self._placed[name]) for name in self._placed):
            return
        found = self._on_points([float(x) for x in new["x"] if x is not None])
        self._place(self._data.levels if found is None else np.array(found))

    def _place(self, levels: np.ndarray) -> None:
        top = self.figures[0].y_range.end
        self._placed = dict(x=levels, height=np.full(len(levels), top / 1.5))
        self._levels.data = self._placed | {"color": [METHOD_COLORS[self._data.method]] * len(levels)}
        self._levels.selected.indices = []

    @property
    def shown(self) -> Points | None:
        """The points on the page, None if there are none."""
        return self._data

    def clear(self) -> None:
        """Show nothing: these points cannot be chosen."""
        self._data = None
        self.errors.visible = False
        self.terms.object = ""
        for source in (self._bins, self._levels, self._candidates, self._stairs, self._errors):
            source.data = {name: [] for name in source.data}
        self.title.object = "<h2>2 · Where the points lie</h2>"
        self.facts.object = ""

    def show(self, data: Points) -> None:
        """Draw points, histogram and staircase; the errors if all are there."""
        histogram, staircase, _ = self.figures
        color, top = METHOD_COLORS[data.method], max(10.0, float(data.counts.max()) * 2)
        if self._data is None or not np.array_equal(data.counts, self._data.counts):
            shown = data.counts > 0
            left, right = data.edges[:-1][shown], data.edges[1:][shown]
            self._bins.data = dict(left=left, right=right, top=data.counts[shown])
        if self._data is None or not np.array_equal(data.candidates, self._data.candidates):
            self._candidates.data = dict(x=data.candidates, y=np.full(len(data.candidates), 0.7))
        self._data = data
        x, y = _stairs(data)
        self._stairs.data = dict(x=[x], y=[y], color=[color])
        self._axis.update(start=float(data.edges[0]), end=float(data.edges[-1]))
        histogram.y_range.update(start=0.5, end=top)
        self._place(data.levels)
        staircase.y_range.update(start=float(data.edges[0]), end=float(data.edges[-1]))
        self.title.object = (
            f"<h2>2 · Where the {len(data.levels)} points lie <small>channel {data.channel}</small></h2>"
        )
        self.panel.param.update(css_classes=[], styles=SHOWN)
        staircase.xaxis.axis_label = data.unit
        if data.compared:
            self.show_errors(data)
        self.facts.object = _facts(data)
        self.terms.object = _terms(data)
        self.errors.visible = bool(data.selectors)

    def show_errors(self, data: Points) -> None:
        """Draw the error bars, which may come later than the rest."""
        bars, ratios, errors, colors = [], [], [], []
        for index, scope in ((0, "channel"), (1, "layer")):
            for name, values in data.selectors.items():
                best = data.selectors["exact"][index]
                bars.append(f"{name}, {scope}")
                ratios.append(values[index] / best if best else 1.0)
                errors.append(scientific(values[index]))
                colors.append(SELECTOR_COLORS[name])
        self.figures[2].y_range.factors = bars[::-1]
        self.figures[2].x_range.end = 1.1 * max(ratios, default=1.0)
        self._errors.data = dict(bar=bars, ratio=ratios, error=errors, color=colors)


def _stairs(data: Points) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the staircase over the whole axis."""
    levels = np.unique(data.levels)
    middles = (levels[1:] + levels[:-1]) / 2
    x = np.concatenate([[data.edges[0]], np.repeat(middles, 2), [data.edges[-1]]])
    return x, np.repeat(levels, 2)


def _facts(data: Points) -> str:
    """Write what the points cost: the largest number first, since it is the answer."""
    rows = {"points used": f"{data.used} of {len(data.levels)}", "squared error": scientific(data.error)}
    if data.distinct < len(data.levels):
        rows["points used"] += f", {data.distinct} distinct"
    if BY_HAND in data.selectors and data.selectors["exact"][0]:
        far = data.selectors[BY_HAND][0] / data.selectors["exact"][0] - 1
        rows["above the optimum"] = f"{100 * far:.1f} %"
    if known := [term for term in data.terms if term is not None]:
        shifts, additions = (np.mean([term[i] for term in known]) for i in (1, 2))
        rows["shifts + additions"] = f"{shifts:.1f} + {additions:.1f}"
    if len(data.candidates):
        rows["chosen from"] = f"{len(data.candidates):,} points"
    cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
    lead = f"<tr class='lead'><th>signal to noise</th><td>{data.sqnr:.1f} dB</td></tr>".replace("-", "−")
    return f"<table class='facts'>{lead}{cells}</table>"


def _terms(data: Points) -> str:
    """Write each point as a sum of powers of two, with the cost of a product with it."""
    if not data.terms:
        return ""
    rows = []
    for level, known in zip(np.unique(data.levels), data.terms, strict=True):
        if known is None:
            cells = "<td colspan=3>on the grid, not in the set</td>"
        else:
            terms, shifts, additions = known
            cells = f"<td>{_sum(terms)}</td><td>{shifts}</td><td>{additions}</td>"
        rows.append(f"<tr><td>{level:.4f}</td>{cells}</tr>".replace("-", "−"))
    head = "<tr><th>point</th><th>powers of two</th><th>shifts</th><th>additions</th></tr>"
    return f"{TERMS}<div class='terms'><table>{head}{''.join(rows)}</table></div>"


def _sum(terms: tuple[float, ...]) -> str:
    """Write a sum: (2⁻¹ + 2⁻³) / 4 for two words of four that are not 0."""
    powers = [superscript(round(np.log2(abs(term)))) for term in terms if term]
    if not powers:
        return "0"
    written = " + ".join("1" if power == superscript(0) else f"2{power}" for power in powers)
    sign = "-" if any(term < 0 for term in terms) else ""
    return f"{sign}({written}) / {len(terms)}" if len(terms) > 1 else f"{sign}{written}"
