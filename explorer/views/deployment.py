"""The file for a phone: its variants in numbers and pictures, their times, and the range of its output."""

from __future__ import annotations

from html import escape

import panel as pn

from explorer.choices.state import ENGINES
from explorer.elements.deployment import COLORS, HEIGHT, LEVELS, outputs, times
from explorer.pipeline.deployment import FLOATS, Outcome, Outputs, engine_of
from explorer.pipeline.pictures import TRUTH
from explorer.views.canvas import Window, grid, show_only
from explorer.views.drawn import Drawn
from explorer.views.format import against, decibel
from explorer.views.theme import TABLE, columns, table
from explorer.views.tile import Tile

NAMED = 3  # float layers at most that are named in the table
ENGINE_NAMES = {key: name for name, key in ENGINES.items()}
WIDE = dict(sizing_mode="stretch_width")


class DeploymentView:
    """Table, times and pictures of the variants in `answer`, the diagnosis of the output in `diagnosis`."""

    def __init__(self):
        self.window = Window()
        self.tiles = {name: Tile(f"deployed {name}", self.window) for name in COLORS}
        self.table = pn.pane.HTML("", stylesheets=[TABLE], margin=(0, 0, 8, 0), **WIDE)
        self.times = Drawn(times, 120)
        self.outputs = Drawn(outputs, HEIGHT)
        self.advice = pn.pane.HTML("", css_classes=["text"], margin=(4, 8), **WIDE)
        self.grid = grid()
        self.answer = pn.Column(self.table, self.times.panel, self.grid, css_classes=["card"], **WIDE)
        self.diagnosis = pn.Column(
            columns("minmax(0, 1.5fr) minmax(0, 1fr)", self.outputs.panel, self.advice),
            css_classes=["card"],
            **WIDE,
        )

    def arrange(self, names: list[str]) -> None:
        """Show exactly these variants, dimmed until they are computed."""
        show_only(self.grid, [self.tiles[name].panel for name in names])
        for name in names:
            self.tiles[name].label(name, False, COLORS[name])
            self.tiles[name].wait()
        self.times.wait()
        self.outputs.wait()

    def show_outputs(self, data: Outputs) -> None:
        """Draw the outputs with the INT8 range, and write the diagnosis."""
        self.outputs.show(data)
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

    def say(self, name: str, sentence: str) -> None:
        """Say why a variant has no picture."""
        self.tiles[name].say(sentence)

    def show_table(self, found: dict[str, Outcome], ms: dict[str, float]) -> None:
        """Write the numbers of the variants so far; a missing time is "…"."""
        scored = next((o.picture.against for o in found.values() if o.picture.psnr is not None), TRUTH)
        rows = [_row(name, outcome, ms.get(name), scored) for name, outcome in found.items()]
        self.table.object = table(rows) if rows else ""
        if ms:
            self.times.show(ms)

    def clear(self) -> None:
        """Show nothing: the status line says why."""
        self.table.object = self.advice.object = ""
        show_only(self.grid, [])
        self.times.clear()
        self.outputs.clear()


def _row(name: str, outcome: Outcome, ms: float | None, truth: str) -> dict[str, str]:
    graph = outcome.graph
    return {
        "variant": f"<span style='white-space:nowrap'><span style='color:{COLORS[name]}'>■</span> "
        f"{escape(name)}</span>",
        "engine": ENGINE_NAMES[engine_of(name)],
        f"PSNR{against(truth)} / dB": decibel(outcome.picture.psnr).removesuffix(" dB"),
        f"SSIM{against(truth)}": f"{outcome.picture.ssim:.4f}",
        "colour shift / levels": f"{outcome.colour_shift:.2f}",
        "time / ms": "…" if ms is None else f"{ms:.1f}",
        "file / KiB": f"{outcome.size / 1024:.0f}",
        "layers in INT8": f"{graph.integer_layers} of {len(graph.layers)}",
        "conversions": "–" if graph.conversions is None else str(graph.conversions),
        "in float": "all" if name in FLOATS else escape(_in_float(outcome)),
    }


def _in_float(outcome: Outcome) -> str:
    """Name the layers and operators that run in float."""
    layers = [name for name, kind in outcome.graph.layers.items() if kind == "float"]
    more = [f"{len(layers) - NAMED} more layers"] if len(layers) > NAMED else []
    return ", ".join((*layers[:NAMED], *more, *outcome.graph.operators)) or "nothing"
