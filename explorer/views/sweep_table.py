"""The heat map of a sweep's scores by any two of its fields."""

from __future__ import annotations

import math

from bokeh.models import ColorBar, ColumnDataSource, FactorRange, HoverTool, LinearColorMapper

from explorer.pipeline.sweep_rows import Table
from explorer.views.theme import PALETTE, pane, plot

HEIGHT = 340


class SweepTableView:
    """One figure, a cell for every two values."""

    def __init__(self):
        self._cells = ColumnDataSource(dict(x=[], y=[], value=[], number=[], text=[], color=[]))
        self._mapper = LinearColorMapper(PALETTE, low=0, high=1)
        ranges = dict(x_range=FactorRange(), y_range=FactorRange())
        self.figure = plot("Any two fields", "", "", HEIGHT, name="sweep table", **ranges)
        place = dict(source=self._cells, width=1, height=1)
        cells = self.figure.rect(
            "x", "y", **place, fill_color={"field": "value", "transform": self._mapper}, line_color=None
        )
        self.figure.text(
            "x", "y", text="text", source=self._cells, text_align="center", text_baseline="middle",
            text_color="color", text_font_size="11px",
        )  # fmt: skip
        tip = "@x, @y: @value{0.000}, mean of @number rows"
        self.figure.add_tools(HoverTool(renderers=[cells], tooltips=tip))
        self.figure.grid.visible = False
        self._bar = ColorBar(color_mapper=self._mapper, width=8, padding=2, border_line_color=None)
        self._bar.background_fill_alpha = 0
        self.figure.add_layout(self._bar, "right")
        self.panel = pane(self.figure)

    def show(self, data: Table, across: str, down: str, value: str) -> None:
        """Draw the cells; the other arguments name axes and colours in words."""
        self._cells.data = dict(x=[], y=[], value=[], number=[], text=[], color=[])  # of other factors
        self.figure.x_range.factors, self.figure.y_range.factors = data.across, data.down[::-1]
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = across, down
        self.figure.xaxis.major_label_orientation = (
            0.0 if max((len(text) for text in data.across), default=0) < 12 else math.pi / 5
        )
        self.figure.title.text = f"{value}, mean"
        values = [number for number in data.cells["value"] if math.isfinite(number)] or [0.0]
        low, high = min(values), max(values)
        self._mapper.update(low=low, high=max(high, low + 1e-6))
        middle = (low + high) / 2
        texts = [
            f"{round(number, 2) + 0.0:.2f}" if math.isfinite(number) else "" for number in data.cells["value"]
        ]
        colors = ["#202020" if number > middle else "#f5f5f5" for number in data.cells["value"]]
        self._cells.data = data.cells | {"text": texts, "color": colors}
