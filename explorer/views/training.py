"""The record of a training or a tuning: curves over steps, a layer's input, the picture before and after."""

from __future__ import annotations

from functools import partial

import numpy as np
import panel as pn
from bokeh.models import Plot

from explorer.elements.training import (
    CURVES,
    HEIGHT,
    MOMENT,
    RANGE,
    SHAPE,
    TUNING_HEIGHT,
    curve,
    height,
    loss,
    range_at,
    received,
    shapes,
)
from explorer.pipeline.pictures import Picture
from explorer.views.canvas import Window
from explorer.views.drawn import Drawn, part
from explorer.views.format import against, change, decibel
from explorer.views.tile import Tile

TILES = ("Float", "Before training", "After training", "Without training: dfsq+")


class TrainingView:
    """Curves, histogram and pictures of a training, in `panel`."""

    def __init__(self):
        self._drawn: tuple[dict, str] | None = None  # record and layer of the curves
        self.curves = [Drawn(partial(curve, kind), HEIGHT) for kind in CURVES]
        self.histogram = Drawn(received, 240)
        self.window = Window()
        self.tiles = {name: Tile(f"trained {name}", self.window) for name in TILES}
        for name, tile in self.tiles.items():
            tile.label(name, False)
        self.summary = pn.pane.HTML(
            "", css_classes=["text"], sizing_mode="stretch_width", margin=(0, 0, 8, 0)
        )
        wide = dict(sizing_mode="stretch_width")
        curves = pn.Column(*(drawn.panel for drawn in self.curves), css_classes=["curves"], **wide)
        tiles = pn.Column(*(tile.panel for tile in self.tiles.values()), css_classes=["pairs"], **wide)
        halves = pn.Column(
            pn.Column(self.summary, curves, self.histogram.panel, css_classes=["card"], **wide),
            pn.Column(tiles, css_classes=["card"], **wide),
            css_classes=["halves"],
            **wide,
        )
        self._sentence = pn.pane.HTML("", css_classes=["text"], visible=False, **wide)
        # In a layout of its own: a grid is seen even where it is not visible.
        self._parts = pn.Column(halves, visible=False, margin=0, **wide)
        self.panel = pn.Column(self._sentence, self._parts, margin=0, **wide)

    def show(self, card: dict, layer: str, share: float) -> None:
        """Draw the record of a card: `share` of its steps is the moment, `layer` the one that stands out."""
        record, moment = card["record"], share * card["steps"]
        layer = layer if layer in record["layers"] else record["layers"][0]
        shown = card, layer, moment
        if self._drawn != (record, layer):
            self._drawn = (record, layer)
            for drawn in self.curves:
                drawn.show(*shown)
            self.histogram.show(*shown) if shapes(record, layer, moment) else self.histogram.clear()
        else:
            for drawn in self.curves:
                drawn.move(partial(_move_line, moment), *shown)
            self.histogram.move(partial(_move_shape, record, layer, moment), *shown)
        self.summary.object = _summary(card, moment)
        self._sentence.visible, self._parts.visible = False, True

    def show_picture(self, name: str, picture: Picture | None) -> None:
        """Show a picture; None while it is not there yet."""
        if picture is None:
            self.tiles[name].say("shown when the training is over")
            return
        self.window.fit(*picture.rgb.shape[:2])
        self.tiles[name].show(picture)

    def wait(self) -> None:
        """Dim the pictures, which are of another run."""
        for tile in self.tiles.values():
            tile.wait()

    def clear(self, sentence: str) -> None:
        """Show no run, and say why."""
        self._drawn = None
        self._sentence.param.update(object=f"<p>{sentence}</p>", visible=True)
        self._parts.visible = False
        for drawn in (*self.curves, self.histogram):
            drawn.clear()
        for tile in self.tiles.values():
            tile.say("")


def _move_line(moment: float, figure: Plot) -> None:
    part(figure, MOMENT).data = {"moment": [moment]}


def _move_shape(record: dict, layer: str, moment: float, figure: Plot) -> None:
    """Draw what the layer receives at the moment, and its range then."""
    found = shapes(record, layer, moment)
    shape, lines = (part(figure, name) for name in (SHAPE, RANGE))
    shape.data = {"x": shape.data["x"], "top": found[SHAPE][0]}
    lines.data = {"end": range_at(record, layer, moment)}
    figure.y_range.end = height(found)


def _summary(card: dict, moment: float) -> str:
    psnr = card["record"]["psnr"]
    at = ""
    if psnr["step"]:
        near = int(np.argmin(np.abs(np.array(psnr["step"]) - moment)))
        value = f"<b>{psnr['psnr_y'][near]:.2f} dB</b> on {card['validation']}"
        at = f" PSNR at step {psnr['step'][near]:,}: {value}."
    return f"<b>{card['label']}</b>, trained on {card['images']} images of {card['data']}.{at}"


class TuningView:
    """The loss of a tuning of ranges, and the picture before and after; `window`: shared with others."""

    def __init__(self, window: Window):
        self._window = window
        self.loss = Drawn(loss, TUNING_HEIGHT)
        self.said = pn.pane.HTML("", css_classes=["text"], sizing_mode="stretch_width", margin=(4, 0))
        self.tiles = [Tile(f"tuned {name}", window) for name in ("before", "after")]
        wide = dict(sizing_mode="stretch_width", margin=0)
        pairs = pn.Column(*(tile.panel for tile in self.tiles), css_classes=["pairs"], **wide)
        # In a layout of its own: a grid is seen even where it is not visible.
        self._parts = pn.Column(
            pn.Column(self.loss.panel, pairs, css_classes=["halves"], **wide), visible=False, **wide
        )
        self.panel = pn.Column(self.said, self._parts, **wide)

    def start(self, name: str, color: str) -> None:
        """Make room for the results of a method, with no picture yet."""
        self._name, self._color = name, color
        for tile, title in zip(self.tiles, (name, f"{name}, tuned"), strict=True):
            tile.label(title, False, color)
            tile.say("shown when the tuning is over")
        self._parts.visible = True

    def show_losses(self, losses: list[tuple[int, float]], steps: int) -> None:
        """Draw the losses so far, of a tuning of `steps`."""
        if losses:
            self.loss.show(losses, steps, self._name, self._color)

    def show(self, before: Picture, after: Picture) -> None:
        """Show both pictures, and what the tuning gained."""
        for tile, picture in zip(self.tiles, (before, after), strict=True):
            self._window.fit(*picture.rgb.shape[:2])
            tile.show(picture)
        self.said.object = (
            f"PSNR{against(after.against)}: before tuning {decibel(before.psnr)}, "
            f"after <b>{decibel(after.psnr)}</b> ({change(after.psnr, before.psnr) or 'no difference'})"
        )

    def hide(self, sentence: str) -> None:
        """Show a sentence alone."""
        self._parts.visible, self.said.object = False, sentence
        self.loss.clear()
