"""The mismatch of the quantized layers' inputs: why one range does not fit all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import panel as pn
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, HoverTool, Span

from core.analysis.mismatch import Mismatch
from explorer.views.theme import ACCENT, columns, pane, plot

HEIGHT = 200
ACROSS = {"channels": ("#5B6C8F", "circle"), "images": ("#B8860B", "triangle")}  # colour, marker
LEGEND = (
    "<p style='font-size: 13px; margin: 0'><b>Mismatch of the input, by layer</b>: "
    + ", ".join(
        f"<span style='color: {color}'>{'●' if marker == 'circle' else '▲'}</span> across {across}"
        for across, (color, marker) in ACROSS.items()
    )
    + ". At 0 all are alike, and one range fits all. Tap a layer.</p>"
)


class MismatchView:
    """Two figures, for the channels' means and deviations; `on_layer(name)` is called when one is tapped."""

    def __init__(self, on_layer: Callable[[str], None]):
        self._on_layer = on_layer
        self._layers: list[str] = []
        self._source = ColumnDataSource({key: [] for key in ("rank", "layer", *Mismatch._fields)})
        style = dict(dimension="height", line_color=ACCENT, line_alpha=0.3, line_width=6, location=-9)
        self._here = [Span(**style) for _ in range(2)]
        self.figures = [
            self._plot("mean", "Channel means", self._here[0]),
            self._plot("deviation", "Channel deviations", self._here[1]),
        ]
        self.panel = pn.Column(
            pn.pane.HTML(LEGEND, sizing_mode="stretch_width", margin=(10, 0, 0, 0)),
            columns("minmax(0, 1fr) minmax(0, 1fr)", *map(pane, self.figures)),
            sizing_mode="stretch_width",
            margin=0,
        )

    def _plot(self, kind: str, title: str, here: Span):
        fig = plot(title, "quantized layer", "spread / deviation", HEIGHT, "x", name=f"mismatch of {kind}s")
        for across, (color, marker) in ACROSS.items():
            field = f"{kind}_{across}"
            fig.line("rank", field, source=self._source, color=color, line_width=1.5)
            dots = fig.scatter("rank", field, source=self._source, size=7, color=color, marker=marker)
            tip = f"@layer: @{field}{{0.000}} across {across}"
            fig.add_tools(HoverTool(renderers=[dots], tooltips=tip))
        fig.add_layout(here)
        fig.on_event(Tap, lambda event: self._tapped(event.x))
        return fig

    def _tapped(self, x: float | None) -> None:
        if self._layers and x is not None:
            self._on_layer(self._layers[int(np.clip(round(x) - 1, 0, len(self._layers) - 1))])

    def show(self, found: dict[str, Mismatch], layer: str) -> None:
        """Draw all layers and mark the chosen one."""
        if list(found) != self._layers:
            self._draw(found)
        for line in self._here:
            line.location = self._layers.index(layer) + 1

    def _draw(self, found: dict[str, Mismatch]) -> None:
        self._layers = list(found)
        values = dict(zip(Mismatch._fields, map(list, zip(*found.values(), strict=True)), strict=True))
        self._source.data = dict(rank=list(range(1, len(found) + 1)), layer=self._layers, **values)
        for fig, kind in zip(self.figures, ("mean", "deviation"), strict=True):
            top = max(max(values[f"{kind}_{across}"]) for across in ACROSS)
            fig.x_range.update(start=0.5, end=len(found) + 0.5)
            fig.y_range.update(start=0, end=1.1 * max(top, 1e-9))
