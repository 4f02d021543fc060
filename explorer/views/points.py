"""The quantization points of one channel over its histogram, the staircase, and the selectors' errors."""

from __future__ import annotations

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, FactorRange, HoverTool, Range1d

from explorer.pipeline import Points
from explorer.views.style import METHOD_COLORS, NEUTRAL, SELECTOR_COLORS, columns, plot, scientific


class PointsView:
    """Histogram and staircase share the horizontal axis; facts and error bars stand beside."""

    def __init__(self):
        self._data: Points | None = None
        self._bins = ColumnDataSource(dict(left=[], right=[], top=[]))
        self._levels = ColumnDataSource(dict(x=[], height=[], color=[]))
        self._candidates = ColumnDataSource(dict(x=[], y=[]))
        self._stairs = ColumnDataSource(dict(x=[], y=[], color=[]))
        self._errors = ColumnDataSource(dict(bar=[], ratio=[], error=[], color=[]))
        self._axis = Range1d(-1, 1)
        self.figures = [self._histogram(), self._staircase(), self._error_bars()]
        self.facts = pn.pane.HTML("", sizing_mode="stretch_width", height=135, margin=0)
        histogram, staircase, bars = (
            pn.pane.Bokeh(fig, sizing_mode="stretch_width", margin=0) for fig in self.figures
        )
        self.panel = columns(
            "minmax(0, 2.2fr) minmax(0, 1fr)",
            pn.Column(histogram, staircase, sizing_mode="stretch_width", margin=0),
            pn.Column(self.facts, bars, sizing_mode="stretch_width", margin=0),
        )

    def _histogram(self):
        fig = plot("", "", "activations (log)", 230, x_range=self._axis, y_axis_type="log", name="histogram")
        fig.y_range = Range1d(0.5, 10)
        fig.quad("left", "right", "top", 0.5, source=self._bins, color=NEUTRAL, alpha=0.6, line_width=0)
        fig.segment("x", 0.5, "x", "height", source=self._levels, color="color", line_width=1.5)
        heads = fig.scatter("x", "height", source=self._levels, size=6, color="color")
        ticks = fig.scatter("x", "y", source=self._candidates, marker="dash", angle=np.pi / 2, size=9)
        ticks.glyph.line_color = NEUTRAL
        fig.add_tools(HoverTool(renderers=[heads], tooltips="point @x{0.[0000]}"))
        return fig

    def _staircase(self):
        title = "Staircase x → Q(x)"
        fig = plot(title, "", "Q(x)", 200, x_range=self._axis, y_range=Range1d(-1, 1), name="staircase")
        fig.multi_line("x", "y", source=self._stairs, color="color", line_width=2)
        return fig

    def _error_bars(self):
        fig = plot(
            "Selectors compared",
            "squared error, exact = 1",
            "",
            200,
            y_range=FactorRange(),
            name="errors",
        )
        bars = fig.hbar("bar", right="ratio", height=0.7, color="color", source=self._errors)
        fig.add_tools(HoverTool(renderers=[bars], tooltips="@bar: mean squared error @error"))
        fig.x_range.start = 0
        return fig

    def clear(self) -> None:
        """Show nothing: these points cannot be chosen."""
        self._data = None
        for source in (self._bins, self._levels, self._candidates, self._stairs, self._errors):
            source.data = {name: [] for name in source.data}
        self.figures[0].title.text = ""
        self.facts.object = ""

    def show(self, data: Points) -> None:
        histogram, staircase, bars = self.figures
        color, top = METHOD_COLORS[data.method], max(10.0, float(data.counts.max()) * 2)
        if self._data is None or not np.array_equal(data.counts, self._data.counts):
            shown = data.counts > 0
            left, right = data.edges[:-1][shown], data.edges[1:][shown]
            self._bins.data = dict(left=left, right=right, top=data.counts[shown])
        if self._data is None or not np.array_equal(data.candidates, self._data.candidates):
            self._candidates.data = dict(x=data.candidates, y=np.full(len(data.candidates), 0.7))
        self._data = data
        n = len(data.levels)
        self._levels.data = dict(x=data.levels, height=np.full(n, top / 1.5), color=[color] * n)
        x, y = _stairs(data)
        self._stairs.data = dict(x=[x], y=[y], color=[color])
        self._axis.update(start=float(data.edges[0]), end=float(data.edges[-1]))
        histogram.y_range.update(start=0.5, end=top)
        staircase.y_range.update(start=float(data.edges[0]), end=float(data.edges[-1]))
        histogram.title.text = f"Channel {data.channel}: histogram and the {n} points"
        staircase.xaxis.axis_label = data.unit
        self._show_errors(data)
        self.facts.object = _facts(data)
        bars.visible = bool(data.selectors)

    def _show_errors(self, data: Points) -> None:
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
    """Corners of the staircase over the whole axis."""
    levels = np.unique(data.levels)
    middles = (levels[1:] + levels[:-1]) / 2
    x = np.concatenate([[data.edges[0]], np.repeat(middles, 2), [data.edges[-1]]])
    return x, np.repeat(levels, 2)


def _facts(data: Points) -> str:
    rows = {
        "points": str(len(data.levels)),
        "distinct": str(data.distinct),
        "used by this channel": str(data.used),
        "squared error": f"{scientific(data.error)} (mean)",
        "signal to noise": f"{data.sqnr:.1f} dB",
    }
    if len(data.candidates):
        rows["universal set"] = f"{len(data.candidates):,} points"
    cells = "".join(
        f"<tr><td style='padding-right:16px;opacity:.75'>{k}</td><td><b>{v}</b></td></tr>"
        for k, v in rows.items()
    )
    return f"<table style='font-size:13px;line-height:1.5'>{cells}</table>"
