"""The sensitivity of the layers, the pictures with some of them kept float, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import numpy as np
import panel as pn
from bokeh.events import Tap
from bokeh.models import LinearColorMapper

from core.analysis.sensitivity import Sensitivity
from explorer.elements.layers import HEIGHT, NAMES, PARTS, alone, larger, saved, slower
from explorer.pipeline.layer_costs import LayerCost
from explorer.pipeline.pictures import Picture
from explorer.views.canvas import Canvas, Window
from explorer.views.drawn import Drawn
from explorer.views.format import against, decibel
from explorer.views.theme import DIFFERENCE_SCALE, DIFFERENCE_TOP
from explorer.views.tile import Tile

TILES = {"float": "Float network", "whole": "All layers quantized", "kept": "With the pale ones float"}
LEGEND = ", ".join(
    f"<span style='color:{color}'>■</span> {NAMES[part]}" for part, (color, _) in PARTS.items()
)
LEGEND = f"Quantized: {LEGEND}. Tap a layer to keep it float (pale), tap it again to quantize it."
SCALE = f"Kept float against the float network, mean |RGB| in 8-bit levels{DIFFERENCE_SCALE}"


class LayersView:
    """Two figures and the pictures; `on_layer(name)` is called when a layer is tapped."""

    def __init__(self, on_layer: Callable[[str], None]):
        self._on_layer = on_layer
        self._shown: tuple[float, dict[str, Sensitivity]] | None = None
        self.alone = Drawn(alone, HEIGHT, self._follow_taps)
        self.saved = Drawn(saved, HEIGHT, self._follow_taps)
        self.window = Window()
        self.tiles = {key: Tile(f"layers {key}", self.window) for key in TILES}
        for key, name in TILES.items():
            self.tiles[key].label(name, False)
        mapper = LinearColorMapper("Inferno256", low=0, high=DIFFERENCE_TOP)
        self.difference = Canvas("layers difference", self.window, mapper)
        self.scores = pn.pane.HTML("", css_classes=["text"], sizing_mode="stretch_width", margin=(4, 0))
        self.panel = pn.Column(
            self._bars(), self._pictures(), css_classes=["halves"], sizing_mode="stretch_width"
        )

    def _bars(self) -> pn.Column:
        legend = pn.pane.HTML(f"<p class='note'>{LEGEND}</p>", css_classes=["text"], margin=0)
        return pn.Column(
            legend, self.alone.panel, self.saved.panel, css_classes=["card"], sizing_mode="stretch_width"
        )

    def _pictures(self) -> pn.Column:
        scale = pn.pane.HTML(f"<div class='note'>{SCALE}</div>", css_classes=["text"], margin=0)
        error = pn.Column(scale, self.difference.panel, sizing_mode="stretch_width", margin=0)
        pictures = pn.Column(
            *(tile.panel for tile in self.tiles.values()),
            error,
            css_classes=["pairs"],
            sizing_mode="stretch_width",
        )
        return pn.Column(self.scores, pictures, css_classes=["card"], sizing_mode="stretch_width")

    def _follow_taps(self, figure) -> None:
        figure.on_event(Tap, lambda event: self._tapped(event.x))

    def _tapped(self, x: float | None) -> None:
        if self._shown and x is not None:
            names = list(self._shown[1])
            self._on_layer(names[int(np.clip(round(x) - 1, 0, len(names) - 1))])

    def show(self, total: float, found: dict[str, Sensitivity], kept: Collection[str]) -> None:
        """Draw the errors; total: that with every layer quantized; kept: the layers kept float."""
        self._shown = total, found
        self.alone.show(found, kept)
        self.saved.show(total, found, kept)

    def mark(self, kept: Collection[str]) -> None:
        """Draw the layers kept float pale, before the pictures are there."""
        if self._shown:
            self.show(*self._shown, kept)

    def show_pictures(self, pictures: dict[str, Picture], difference: np.ndarray, number: int) -> None:
        """Show the pictures of TILES and how the last, with `number` layers float, differs from the first.

        difference: (H, W), in 8-bit levels.
        """
        for key, picture in pictures.items():
            self.window.fit(*picture.rgb.shape[:2])
            self.tiles[key].show(picture)
        self.difference.draw(difference[::-1])
        self.scores.object = _scores(number=number, **pictures)

    def wait(self, bars: bool) -> None:
        """Dim the pictures, which may be old; `bars`: and the figures."""
        for tile in self.tiles.values():
            tile.wait()
        if bars:
            self.alone.wait()
            self.saved.wait()

    def clear(self) -> None:
        """Show nothing."""
        self._shown = None
        self.scores.object = ""
        for drawn in (self.alone, self.saved):
            drawn.clear()
        for tile in self.tiles.values():
            tile.say("")
        self.difference.clear()


class LayerCostsView:
    """What keeping a layer float costs: two figures, and the sums in words."""

    def __init__(self):
        self.slower, self.larger = Drawn(slower, HEIGHT), Drawn(larger, HEIGHT)
        self.said = pn.pane.HTML("", css_classes=["text"], sizing_mode="stretch_width", margin=(4, 0))

    def panel(self) -> pn.Column:
        """Return the sums above the figures, side by side where there is room."""
        wide = dict(sizing_mode="stretch_width", margin=0)
        figures = pn.Column(self.slower.panel, self.larger.panel, css_classes=["halves"], **wide)
        return pn.Column(self.said, figures, **wide)

    def show(
        self, found: Mapping[str, LayerCost], kept: Collection[str], size: tuple[int, int], others: int
    ) -> None:
        """Draw the costs; kept: the layers kept float; size: height and width of the image that was timed.

        others: layers that the engine does not tell apart.
        """
        self.said.object = _costs(found, size, others)
        self.slower.show(found, kept)
        self.larger.show(found, kept)

    def wait(self) -> None:
        """Dim the figures."""
        self.slower.wait()
        self.larger.wait()

    def clear(self) -> None:
        """Show nothing."""
        self.said.object = ""
        self.slower.clear()
        self.larger.clear()


def _costs(found: Mapping[str, LayerCost], size: tuple[int, int], others: int) -> str:
    """Write what all layers together take in INT8 and in float."""
    rows = list(found.values())
    ms, kib = (
        [sum(getattr(cost, f"{kind}_{unit}") for cost in rows) for kind in ("int8", "float")]
        for unit in ("ms", "kib")
    )
    height, width = size
    more = f". Not shown: {others} layers that the engine joins with others" if others else ""
    return (
        f"These {len(rows)} layers on an image of {width}×{height} LR pixels: <b>{ms[0]:.1f} ms</b> in INT8, "
        f"{ms[1]:.1f} ms in float; weights {kib[0]:,.0f} KiB in INT8, {kib[1]:,.0f} KiB in float{more}"
    )


def _scores(whole: Picture, kept: Picture, number: int, **others: Picture) -> str:
    """Write the PSNR with all layers quantized, `number` of them kept float, and of the float network."""
    gain = kept.psnr - whole.psnr
    more = f" ({gain:+.2f} dB)".replace("-", "−") if math.isfinite(gain) else ""
    best = others["float"].psnr
    floats = "" if best is None else f"; float network {decibel(best)}"
    return (
        f"PSNR{against(whole.against)}: all layers quantized {decibel(whole.psnr)}; with {number} kept float "
        f"<b>{decibel(kept.psnr)}</b>{more}{floats}"
    )
