"""The configurations of a sweep: PSNR by bits, by the size of the universal set, and by cost."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import panel as pn
from bokeh.events import Tap
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LabelSet,
    NumeralTickFormatter,
    Range1d,
    TapTool,
)

from explorer.choices.sweep_grid import COSTS
from explorer.elements.sweep import COST_NAMES, MAX_LOSS, TICKS, TIP, limits, line_ends
from explorer.pipeline.sweep_rows import Shown
from explorer.views.theme import ACCENT, METHOD_COLORS, NEUTRAL, columns, pane, plot

HEIGHT = 300


class SweepView:
    """Three figures of one set of dots; `on_configuration(index)` is called when one is tapped."""

    def __init__(self, on_configuration: Callable[[int], None]):
        self._on_configuration = on_configuration
        names = ("activation_bits", "set_size", "cost", "psnr", "color", "label", *COSTS.values())
        self._dots = ColumnDataSource({name: [] for name in names})
        self._bits = ColumnDataSource(dict(xs=[], ys=[], color=[]))
        self._sets = ColumnDataSource(dict(xs=[], ys=[], color=[]))
        self._ends = ColumnDataSource(dict(x=[], y=[], label=[], color=[]))
        self._front = ColumnDataSource(dict(x=[], y=[]))
        self.bits = self._plot(
            "PSNR by bits", "bits of the activations", "activation_bits", "sweep bits", "x"
        )
        self.bits.multi_line("xs", "ys", source=self._bits, color="color", line_width=1.5)
        self.sets = self._plot(
            "PSNR by size of the universal set", "points in the set (log)", "set_size", "sweep sets", "",
            x_axis_type="log", x_range=Range1d(10, 1000),
        )  # fmt: skip
        self.sets.multi_line("xs", "ys", source=self._sets, color="color", line_width=1.2, alpha=0.7)
        ends = LabelSet(
            x="x", y="y", text="label", text_color="color", source=self._ends, x_offset=7, y_offset=-6
        )
        ends.text_font_size = "11px"
        self.sets.add_layout(ends)
        self.sets.xaxis.ticker = FixedTicker(ticks=TICKS)
        self.sets.xaxis.formatter = NumeralTickFormatter(format="0,0")
        self.pareto = self._plot("PSNR by cost", COST_NAMES["kib"], "cost", "sweep cost", "")
        self.pareto.step("x", "y", source=self._front, mode="after", color=ACCENT, line_width=1.5, alpha=0.8)
        self.legend = pn.pane.HTML("", sizing_mode="stretch_width", margin=(4, 0, 0, 0), min_height=22)
        figures = map(pane, (self.bits, self.sets, self.pareto))
        self.panel = pn.Column(
            self.legend,
            columns("minmax(0, 1fr) minmax(0, 1fr) minmax(0, 1fr)", *figures),
            sizing_mode="stretch_width",
            margin=0,
        )

    def _plot(self, title: str, x: str, field: str, name: str, whole: str, **options):
        fig = plot(title, x, "PSNR / dB", HEIGHT, whole, name=name, **options)
        dots = fig.scatter(field, "psnr", source=self._dots, size=8, color="color", alpha=0.8)
        dots.nonselection_glyph = dots.selection_glyph = None
        fig.add_tools(HoverTool(renderers=[dots], tooltips=TIP), TapTool(renderers=[dots]))
        fig.on_event(Tap, lambda event: self._tapped())
        return fig

    def _tapped(self) -> None:
        """Open the dot that was hit, if any: the tap tool selects it before the event comes."""
        hit = self._dots.selected.indices
        if hit:
            self._dots.selected.indices = []
            self._on_configuration(hit[0])

    def show(self, data: Shown, cost: str) -> None:
        """Draw all three; cost: the field of the last one's horizontal axis."""
        self._fit(data, cost)
        dots = data.dots
        colors = [METHOD_COLORS.get(method, NEUTRAL) for method in dots["method"]]
        self._dots.data = dots | {"color": colors, "cost": dots[cost]}
        lines = list(data.by_bits.items())
        self._bits.data = dict(
            xs=[line[0] for _, line in lines],
            ys=[line[1] for _, line in lines],
            color=[METHOD_COLORS.get(method, NEUTRAL) for method, _ in lines],
        )
        colors = [METHOD_COLORS.get(method, NEUTRAL) for method, *_ in data.by_set]
        self._sets.data = dict(
            xs=[line[2] for line in data.by_set], ys=[line[3] for line in data.by_set], color=colors
        )
        self._ends.data = line_ends(data, self.sets.y_range.start, self.sets.y_range.end)
        self._front.data = dict(zip("xy", data.front[cost], strict=True))
        self.pareto.xaxis.axis_label = COST_NAMES[cost]
        below = sum(psnr < self.bits.y_range.start for psnr in dots["psnr"])
        self.legend.object = _legend(list(data.by_bits), below)

    def _fit(self, data: Shown, cost: str) -> None:
        dots = data.dots
        if not dots["psnr"]:
            return
        low, high = limits(data)
        for fig in (self.bits, self.sets, self.pareto):
            fig.y_range.update(start=low, end=high)
        bits = dots["activation_bits"]
        self.bits.x_range.update(start=min(bits) - 0.4, end=max(bits) + 0.4)
        sizes = [size for size in dots["set_size"] if size == size]
        if sizes:
            start, end = min(sizes) / 1.3, max(sizes) * (max(sizes) / min(sizes)) ** 0.45 * 1.5
            self.sets.x_range.update(start=start, end=end)
        costs = dots[cost]
        edge = 0.05 * max(max(costs) - min(costs), 0.05 * max(costs))
        self.pareto.x_range.update(start=min(costs) - edge, end=max(costs) + edge)

    def clear(self) -> None:
        """Show no configuration."""
        for source in (self._dots, self._bits, self._sets, self._ends, self._front):
            source.data = {key: [] for key in source.data}
        self.legend.object = ""


def _legend(methods: list[str], below: int) -> str:
    marks = " &nbsp; ".join(
        f"<span style='color:{METHOD_COLORS.get(method, NEUTRAL)}'>●</span>&nbsp;{escape(method)}"
        for method in methods
    )
    more = (
        f"<span style='color:{ACCENT}'>━</span>&nbsp;Pareto front: the best PSNR at each cost. Lines: as "
        "many weight bits as activation bits, points as the method chooses them, on the left from the 4 × 4 "
        "set."
    )
    if below:
        more += f" Below the frame, more than {MAX_LOSS:.0f} dB worse: {below}."
    return f"<div style='font-size:13px'>{marks} &nbsp; {more}</div>" if methods else ""
