"""The INT8 file: the range of its output, its variants in numbers, and their pictures."""

from __future__ import annotations

from html import escape

import numpy as np
import panel as pn
from bokeh.models import BoxAnnotation, ColumnDataSource, Range1d, Span

from explorer.pipeline.deployment import CLIP, FLOAT, FREE, PLAIN, Outcome, Outputs
from explorer.pipeline.pictures import TRUTH
from explorer.views.canvas import Window, grid
from explorer.views.format import against, decibel
from explorer.views.theme import ACCENT, NEUTRAL, TABLE, columns, pane, plot, table
from explorer.views.tile import Tile

COLORS = {FLOAT: "#8A9199", CLIP: "#C0392B", FREE: "#2471A3", PLAIN: "#2471A3"}
LEVELS = 256


class DeploymentView:
    """Diagnosis, table and pictures of the variants, in `panel`."""

    def __init__(self):
        self.window = Window()
        self.tiles = {name: Tile(f"deployed {name}", self.window) for name in COLORS}
        self._bins = ColumnDataSource(dict(left=[], right=[], top=[]))
        self._levels = ColumnDataSource(dict(x=[], y=[]))
        self._ends = [
            Span(dimension="height", line_color=ACCENT, line_width=2, location=-99) for _ in range(2)
        ]
        self.figure = self._histogram()
        self.advice = pn.pane.HTML("", sizing_mode="stretch_width", margin=(4, 8))
        self.table = pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[TABLE], margin=(8, 0))
        self.grid = grid()
        self.panel = pn.Column(
            columns("minmax(0, 1.5fr) minmax(0, 1fr)", pane(self.figure), self.advice),
            self.table,
            self.grid,
            sizing_mode="stretch_width",
            margin=0,
        )

    def _histogram(self):
        title = "Outputs on the representative images"
        fig = plot(
            title,
            "output of the float network, not clipped",
            "values (log)",
            260,
            y_axis_type="log",
            name="outputs",
        )
        fig.y_range = Range1d(0.5, 1e5)
        fig.add_layout(BoxAnnotation(left=0, right=1, fill_color="#009E73", fill_alpha=0.12, line_color=None))
        fig.quad("left", "right", "top", 0.5, source=self._bins, color=NEUTRAL, alpha=0.6, line_width=0)
        ticks = fig.scatter("x", "y", source=self._levels, marker="dash", angle=np.pi / 2, size=9)
        ticks.glyph.line_color = ACCENT
        ticks.glyph.line_alpha = 0.5
        for line in self._ends:
            fig.add_layout(line)
        return fig

    def arrange(self, names: list[str]) -> None:
        """Show exactly these variants, dimmed until they are computed."""
        shown = [self.tiles[name].panel for name in names]
        if list(self.grid) != shown:
            self.grid.objects = shown
        for name in names:
            self.tiles[name].label(name, False)
            self.tiles[name].wait()

    def show_outputs(self, data: Outputs) -> None:
        """Draw the outputs with the INT8 range, and write the diagnosis."""
        low, high = data.range.given or (min(data.range.low, 0.0), max(data.range.high, 0.0))
        shown = data.counts > 0
        self._bins.data = dict(
            left=data.edges[:-1][shown], right=data.edges[1:][shown], top=data.counts[shown]
        )
        levels = np.linspace(low, high, LEVELS if data.range.given is None else 0)
        self._levels.data = dict(x=levels, y=np.full(len(levels), 0.7))
        for line, end in zip(self._ends, (low, high), strict=True):
            line.location = float(end)
        margin = 0.05 * (data.edges[-1] - data.edges[0])
        self.figure.x_range.update(start=data.edges[0] - margin, end=data.edges[-1] + margin)
        self.figure.y_range.end = 2 * float(data.counts.max())
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in data.range.advice.values())
        held = data.range.given is None
        red = f"the INT8 range and its {LEVELS} levels" if held else "what the file gives"
        self.advice.object = (
            f"<div style='font-size:13px'><b>Diagnosis</b> (green: the values of a picture; red: {red})"
            f"<ul style='margin:6px 0;padding-left:18px'>{items}</ul></div>"
        )

    def show_variant(self, name: str, outcome: Outcome) -> None:
        """Show the picture of a variant."""
        self.window.fit(*outcome.picture.rgb.shape[:2])
        self.tiles[name].show(outcome.picture)

    def show_table(self, found: dict[str, Outcome], times: dict[str, float]) -> None:
        """Write the numbers of the variants so far; a missing time is "…"."""
        scored = next((o.picture.against for o in found.values() if o.picture.psnr is not None), TRUTH)
        rows = [_row(name, outcome, times.get(name), scored) for name, outcome in found.items()]
        self.table.object = table(rows)


def _row(name: str, outcome: Outcome, ms: float | None, truth: str) -> dict[str, str]:
    return {
        "variant": f"<span style='color:{COLORS[name]}'>■</span> {escape(name)}",
        f"PSNR{against(truth)} / dB": decibel(outcome.picture.psnr).removesuffix(" dB"),
        f"SSIM{against(truth)}": f"{outcome.picture.ssim:.4f}",
        "colour shift / levels": f"{outcome.colour_shift:.2f}",
        "time / ms": "…" if ms is None else f"{ms:.1f}",
        "file / KiB": f"{outcome.kib:.0f}",
        "layers in INT8": f"{outcome.integer_layers} of {outcome.layers}",
    }
