"""Bits by layer: bars to tap, the picture beside that of the same bits for all, and what both cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, CustomJS, GlyphRenderer, Plot

from core.analysis.cost import EffectiveCost
from explorer.choices.layer_bits import LARGEST, Bits
from explorer.choices.state import BITS
from explorer.elements.layers import HEIGHT, NAMES, PARTS, bits, budgets
from explorer.pipeline.pictures import Picture
from explorer.views.canvas import Window
from explorer.views.drawn import Drawn, tapped
from explorer.views.format import against, decibel
from explorer.views.theme import TABLE, table
from explorer.views.tile import Tile

SIDES = ("weights", "activations")
LEGEND = ", ".join(f"<span style='color:{PARTS[side][0]}'>■</span> {NAMES[side]}" for side in SIDES)
LEGEND = f"Bits of a layer: {LEGEND}. Drag a bar, or tap where it should end, to set its bits by hand."
# A finger scrolls the page; with a mouse the bar follows a drag, and the server hears of it at the end.
DRAG = """
if (!matchMedia('(pointer: fine)').matches) return
const {event_name, x, y, sy} = cb_obj, inside = (value, low, high) => Math.min(Math.max(value, low), high)
if (event_name == 'panstart') {
  const layer = inside(Math.round(x) - 1, 0, bars[0].data[parts[0]].length - 1)
  asked.held = {layer, side: Number(x > layer + 1), y, sy}
}
if (asked.held == null) return
// Of a drag, Bokeh gives x and y where it began, and sy, in pixels downwards, where it is.
const {layer, side, ...begun} = asked.held, {start, end} = figure.y_range
const now = begun.y - (sy - begun.sy) * (end - start) / figure.inner_height
const bits = inside(Math.round(now), least, most), drawn = Array.from(bars[side].data[parts[side]])
if (drawn[layer] != bits) {
  drawn[layer] = bits
  bars[side].data[parts[side]] = drawn
  bars[side].change.emit()
}
if (event_name == 'panend') {
  asked.held = null
  asked.data = {layer: [layer], side: [side], bits: [bits]}
}
"""
COST = (
    "Cost of the quantized layers with side information: bit operations for an LR image of 640×360 pixels, "
    "and bytes of weights."
)


class Side(NamedTuple):
    """One configuration: its name, picture and cost."""

    name: str
    picture: Picture
    cost: EffectiveCost


class LayerBitsView:
    """Bars, two pictures and a table; `on_bits(layer, side, bits)` is called with bits set by hand.

    side: 0 for weights, 1 for activations. window: what the pictures show, shared with others.
    """

    def __init__(self, window: Window, on_bits: Callable[[str, int, int], None]):
        self._window, self._on_bits = window, on_bits
        self._layers: list[str] = []
        self.bars = Drawn(bits, HEIGHT, self._made)
        self.budgets = Drawn(budgets, HEIGHT)
        self.tiles = [Tile(f"layers {name}", window) for name in ("uniform", "by layer")]
        wide = dict(sizing_mode="stretch_width")
        self.said = pn.pane.HTML("", css_classes=["text"], margin=(4, 0), **wide)
        self.costs = pn.pane.HTML("", stylesheets=[TABLE], margin=(4, 0), **wide)

    def panel(self) -> pn.Column:
        """Return the bars beside the pictures."""
        wide = dict(sizing_mode="stretch_width", margin=0)
        legend, cost = (
            pn.pane.HTML(f"<p class='note'>{text}</p>", css_classes=["text"], **wide)
            for text in (LEGEND, COST)
        )
        pictures = pn.Column(*(tile.panel for tile in self.tiles), css_classes=["pairs"], **wide)
        return pn.Column(
            pn.Column(legend, self.bars.panel, self.costs, cost, **wide),
            pn.Column(self.said, pictures, **wide),
            css_classes=["halves"],
            **wide,
        )

    def _made(self, figure: Plot) -> None:
        """Let a person tap and drag the bars of a new figure."""
        tapped(self._tapped)(figure)
        sources = [glyphs.data_source for glyphs in figure.select({"type": GlyphRenderer})]
        bars = [next(source for source in sources if side in source.data) for side in SIDES]
        asked = ColumnDataSource({"layer": [], "side": [], "bits": []})
        asked.on_change("data", self._dragged)
        limits = dict(least=BITS[0], most=LARGEST)
        follow = CustomJS(args=dict(figure=figure, bars=bars, parts=SIDES, asked=asked, **limits), code=DRAG)
        for event in ("panstart", "pan", "panend"):
            figure.js_on_event(event, follow)

    def _dragged(self, attr: str, old: dict, new: dict) -> None:
        asked = [int(new[name][0]) for name in ("layer", "side", "bits")]
        if asked[0] < len(self._layers):
            self._on_bits(self._layers[asked[0]], *asked[1:])

    def _tapped(self, x: float, y: float) -> None:
        if self._layers:
            place = int(np.clip(round(x) - 1, 0, len(self._layers) - 1))
            asked = int(np.clip(round(y), BITS[0], LARGEST))
            self._on_bits(self._layers[place], int(x > place + 1), asked)

    def show_bits(self, found: Mapping[str, Bits], same: Bits, said: str) -> None:
        """Draw the bits of every quantized layer; `same`: the sliders'; `said`: how they were chosen."""
        self._layers = list(found)
        self.bars.show(found, same)
        self.said.object = said

    def show(self, uniform: Side, by_layer: Side) -> None:
        """Show both pictures, and the costs beside the scores."""
        for tile, side in zip(self.tiles, (uniform, by_layer), strict=True):
            self._window.fit(*side.picture.rgb.shape[:2])
            tile.label(side.name, False)
            tile.show(side.picture)
        self.costs.object = table([_row(side, uniform.cost) for side in (uniform, by_layer)])

    def wait(self) -> None:
        """Dim the second picture, which may be old."""
        self.tiles[1].wait()

    def clear(self) -> None:
        """Show nothing."""
        self._layers = []
        self.said.object = self.costs.object = ""
        for drawn in (self.bars, self.budgets):
            drawn.clear()
        for tile in self.tiles:
            tile.say("")


def _row(side: Side, whole: EffectiveCost) -> dict[str, str]:
    operations, stored = (f"{100 * a / b:.0f} %" for a, b in zip(side.cost, whole, strict=True))
    return {
        "": side.name,
        f"PSNR{against(side.picture.against)} / dB": decibel(side.picture.psnr).removesuffix(" dB"),
        "GBitOPs": f"{side.cost.bitops / 1e9:,.0f} ({operations})",
        "weights / kB": f"{side.cost.bytes / 1e3:,.1f} ({stored})",
    }
