"""A tile: a picture under its name, its scores, and what it differs by below."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np
import panel as pn
from bokeh.events import Tap

from explorer.pipeline.pictures import TRUTH, Picture
from explorer.views.canvas import Canvas, Window, difference_canvas, rgba
from explorer.views.format import against, change, decibel, of_tiles
from explorer.views.theme import DIMMED, SHOWN

TEXT = dict(sizing_mode="stretch_width", margin=(0, 2), css_classes=["text"])
FRAME = {"outline": "3px solid #0072b2", "outline-offset": "3px", "border-radius": "2px"}
NO_FRAME = {"outline": "none"}


class Tile:
    """A canvas under its name and scores; `on_tap()` is called when a person taps the picture."""

    def __init__(self, name: str, window: Window, on_tap: Callable[[], None] | None = None):
        self._figure_name, self._window, self._on_tap = name, window, on_tap
        self.canvas = self._with_tap(Canvas(name, window))
        self.difference: Canvas | None = None
        self._shown: Picture | None = None
        self._name = pn.pane.HTML("", **TEXT)
        # Two lines for all, so that what stands below tiles stays in one row.
        self._score = pn.pane.HTML("", min_height=32, **TEXT)
        self._title, self._current, self._lost = "", False, ""
        self.panel = pn.Column(
            self._name,
            self.canvas.panel,
            self._score,
            margin=0,
            sizing_mode="stretch_width",
            css_classes=["tile"],
        )

    def _with_tap(self, canvas: Canvas) -> Canvas:
        if self._on_tap is not None:
            canvas.figure.on_event(Tap, lambda _: self._on_tap())
        return canvas

    def label(self, name: str, current: bool, color: str = "") -> None:
        """Set the name, plain text, with a square of `color` before it; `current`: at the sliders' bits."""
        square = f"<span style='color:{color}'>■</span> " if color else ""
        self._title, self._current = f"{square}{escape(name)}{' ◂ sliders' if current else ''}", current
        self._look(SHOWN)
        self._write_name()

    def _look(self, look: dict[str, str]) -> None:
        """Dim the tile or not; by styles: other classes make the browser lay out the whole page anew."""
        self.panel.styles = look | (FRAME if self._current else NO_FRAME)

    def rename(self, name: str) -> None:
        """Take another picture from now on: until it comes, the old one stays, without its scores."""
        if name != self._figure_name:
            self._shown, self._lost, self._score.object = None, "", ""
            self._figure_name = self.canvas.figure.name = name
            if self.difference is not None:
                self.difference.figure.name = self._name_below()

    def _name_below(self) -> str:
        return f"below {self._figure_name.removeprefix('picture ')}"

    def _write_name(self) -> None:
        weight = "700" if self._current else "500"
        self._name.object = (
            f"<div class='caption' style='font-weight:{weight}'><span>{self._title}</span>"
            f"<span class='lost'>{self._lost}</span></div>"
        )

    def show(self, picture: Picture, best: Picture | None = None) -> None:
        """Show a picture and its scores; beside its name the distance to `best`."""
        if picture is not self._shown:
            self.canvas.draw(rgba(picture.rgb))
            self._shown = picture
        self._look(SHOWN)
        score = TRUTH if picture.against == TRUTH else "the others are scored against it"
        if picture.psnr is not None:
            score = f"{decibel(picture.psnr)} · SSIM {picture.ssim:.3f}{against(picture.against)}"
        if picture.effective is not None:
            score += "<br>effective bits W{:.2f} A{:.2f}".format(*picture.effective)
        if tiles := of_tiles(picture.tiles):
            score += f"<br>{tiles}"
        self._score.object = f"<div class='score'>{score}</div>"
        self._lost = "" if best is None or best is picture else change(picture.psnr, best.psnr)
        self._write_name()

    def make_difference(self) -> None:
        """Make place for a difference below the picture."""
        if self.difference is None:
            self.difference = self._with_tap(difference_canvas(self._name_below(), self._window))
            self.panel.insert(2, self.difference.panel)
        self.difference.panel.visible = True

    def show_difference(self, difference: np.ndarray | None) -> None:
        """Show a difference (H, W) in 8-bit levels below the picture; None: an empty frame."""
        self.make_difference()
        if difference is None:
            self.difference.clear()
        else:
            self.difference.draw(difference[::-1])

    def hide_difference(self) -> None:
        """Show the picture alone."""
        if self.difference is not None:
            self.difference.panel.visible = False

    def wait(self) -> None:
        """Dim picture and scores, which may be old, if that lasts."""
        self._look(DIMMED)

    def say(self, sentence: str) -> None:
        """Show a sentence, as plain text, in place of a picture."""
        self.canvas.clear()
        if self.difference is not None:
            self.difference.clear()
        self._shown, self._lost = None, ""
        self._write_name()
        self._look(SHOWN)
        self._score.object = f"<div class='score'>{escape(sentence)}</div>"
