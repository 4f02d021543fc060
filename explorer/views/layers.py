"""The sensitivity of the layers: the picture's error with each quantized alone, and kept float."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import panel as pn
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, HoverTool, Span

from core.analysis.sensitivity import Sensitivity
from explorer.pipeline.pictures import Picture
from explorer.views.format import against, decibel
from explorer.views.theme import ACCENT, NEUTRAL, columns, pane, plot

HEIGHT = 300
UNIT = "error of the picture / 8-bit levels"
PARTS = {"weights": ("#0072B2", -0.28), "activations": ("#E69F00", 0.0), "only": (NEUTRAL, 0.28)}
NAMES = {"weights": "its weights", "activations": "its activations", "only": "both"}
LEGEND = (
    "<p style='font-size: 13px; margin: 0'>Quantized alone: "
    + ", ".join(f"<span style='color: {color}'>■</span> {NAMES[part]}" for part, (color, _) in PARTS.items())
    + ". Tap a layer to see its distribution; keep it float by the button below or in the sidebar.</p>"
)


class LayersView:
    """Two figures; `on_layer(name)` is called when a layer is tapped."""

    def __init__(self, on_layer: Callable[[str], None]):
        self._on_layer = on_layer
        self._found: dict[str, Sensitivity] = {}
        fields = ("rank", "layer", *Sensitivity._fields, *(f"x_{part}" for part in PARTS))
        self._source = ColumnDataSource({field: [] for field in fields})
        style = dict(
            dimension="height",
            line_color=ACCENT,
            line_alpha=0.25,
            line_width=14,
            location=-9,
            level="underlay",
        )
        self._here = [Span(**style) for _ in range(2)]
        self._total = Span(
            dimension="width", line_color=ACCENT, line_dash="dashed", line_width=2, location=-9
        )
        self.figures = [self._alone(), self._all_but()]
        self.scores = pn.pane.HTML("", margin=(12, 8))
        self.panel = pn.Column(
            pn.pane.HTML(LEGEND, sizing_mode="stretch_width", margin=(10, 0, 0, 0)),
            columns("minmax(0, 1fr) minmax(0, 1fr)", *map(pane, self.figures)),
            sizing_mode="stretch_width",
            margin=0,
        )

    def _alone(self):
        fig = plot("This layer alone quantized", "quantized layer", UNIT, HEIGHT, "x", name="layers alone")
        for part, (color, _) in PARTS.items():
            bars = fig.vbar(f"x_{part}", 0.26, part, source=self._source, color=color, line_width=0)
            tip = f"@layer: @{part}{{0.000}} levels, {NAMES[part]}"
            fig.add_tools(HoverTool(renderers=[bars], tooltips=tip))
        return self._finish(fig, self._here[0])

    def _all_but(self):
        fig = plot(
            "All but this layer quantized", "layer left float", UNIT, HEIGHT, "x", name="layers all but"
        )
        bars = fig.vbar("rank", 0.7, "all_but", source=self._source, color="#117733", line_width=0)
        fig.add_tools(HoverTool(renderers=[bars], tooltips="all but @layer: @all_but{0.000} levels"))
        fig.add_layout(self._total)
        return self._finish(fig, self._here[1])

    def _finish(self, fig, here: Span):
        fig.add_layout(here)
        fig.xgrid.visible = False
        fig.on_event(Tap, lambda event: self._tapped(event.x))
        return fig

    def _tapped(self, x: float | None) -> None:
        if self._found and x is not None:
            names = list(self._found)
            self._on_layer(names[int(np.clip(round(x) - 1, 0, len(names) - 1))])

    def mark(self, layer: str) -> None:
        """Mark the chosen layer."""
        names = list(self._found)
        for line in self._here:
            line.location = names.index(layer) + 1 if layer in names else -9

    def show(self, total: float, found: dict[str, Sensitivity], layer: str) -> None:
        """Draw the errors; total: that with every layer quantized."""
        self._found = found
        ranks = np.arange(1, len(found) + 1)
        values = dict(zip(Sensitivity._fields, map(list, zip(*found.values(), strict=True)), strict=True))
        places = {f"x_{part}": ranks + shift for part, (_, shift) in PARTS.items()}
        self._source.data = dict(rank=ranks, layer=list(found), **values, **places)
        tops = [max(max(values[part]) for part in PARTS), max(total, *values["all_but"])]
        for fig, top in zip(self.figures, tops, strict=True):
            fig.x_range.update(start=0.4, end=len(found) + 0.6)
            fig.y_range.update(start=0, end=1.08 * max(top, 1e-9))
        self._total.location = total
        self.figures[1].title.text = f"All but this layer (dashed: all, {total:.2f} levels)"
        self.mark(layer)
        self.panel.styles = {"opacity": "1"}

    def show_scores(self, whole: Picture, kept: Picture, reference: Picture, number: int) -> None:
        """Write the PSNR with all layers quantized, with `number` kept float, and of the float network."""
        floats = "" if reference.psnr is None else f", float network {decibel(reference.psnr)}"
        self.scores.object = (
            f"<div style='font-size:13px'>PSNR with all quantized {decibel(whole.psnr)}, with {number} kept "
            f"float <b>{decibel(kept.psnr)}</b>{against(whole.against)}{floats}</div>"
        )

    def wait(self) -> None:
        """Dim the figures, which may be old."""
        self.panel.styles = {"opacity": "0.35", "transition": "opacity 0.1s 0.3s"}
