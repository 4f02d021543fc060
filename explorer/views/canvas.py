"""Canvases for pictures, which zoom together, and tiles with a name and scores."""

from __future__ import annotations

from html import escape

import numpy as np
import panel as pn
from bokeh.models import (
    ColumnDataSource,
    Image,
    ImageRGBA,
    LinearColorMapper,
    PanTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.plotting import figure

from explorer.pipeline.pictures import TRUTH, Picture
from explorer.views.format import against, decibel, of_tiles


def grid(*tiles: pn.Column, **options) -> pn.Row:
    """Return tiles side by side, in as many rows as they need."""
    widths = "repeat(auto-fill, minmax(max(160px, 22%), 1fr))"
    styles = {"display": "grid", "gap": "10px 12px", "grid-template-columns": widths}
    return pn.Row(*tiles, sizing_mode="stretch_width", styles=styles, **options)


def rgba(rgb: np.ndarray) -> np.ndarray:
    """Pack (H, W, 3) uint8 into (H, W) uint32 as Bokeh draws it, first row at the bottom."""
    height, width, _ = rgb.shape
    packed = np.full((height, width, 4), 255, np.uint8)
    packed[..., :3] = rgb[::-1]
    return packed.view(np.uint32).reshape(height, width)


class Window:
    """The zoom that all pictures of a view share."""

    def __init__(self):
        self.x_range, self.y_range = Range1d(0, 256), Range1d(0, 256)
        self._size: tuple[int, int] | None = None

    def fit(self, height: int, width: int) -> None:
        """Centre pictures of a new size in the square frames; the same size keeps the zoom."""
        if (height, width) != self._size:
            self._size = (height, width)
            self.reset()

    def reset(self) -> None:
        """Show the whole pictures."""
        height, width = self._size or (256, 256)
        side = max(height, width)
        left, bottom = (width - side) / 2, (height - side) / 2
        self.x_range.update(start=left, end=left + side)
        self.y_range.update(start=bottom, end=bottom + side)


class Canvas:
    """One picture in a square frame with square pixels; canvases of one window zoom together."""

    def __init__(self, name: str, window: Window, mapper: LinearColorMapper | None = None):
        self._source = ColumnDataSource(dict(image=[], x=[], y=[], dw=[], dh=[]))
        wheel = WheelZoomTool()
        self.figure = figure(
            name=name,
            x_range=window.x_range,
            y_range=window.y_range,
            tools=[PanTool(), wheel],
            active_scroll=wheel,
            x_axis_type=None,
            y_axis_type=None,
            toolbar_location=None,
            sizing_mode="scale_width",
            aspect_ratio=1,
            min_border=0,
            outline_line_color=None,
        )
        place = dict(image="image", x="x", y="y", dw="dw", dh="dh")
        glyph = ImageRGBA(**place) if mapper is None else Image(color_mapper=mapper, **place)
        self.figure.add_glyph(self._source, glyph)

        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="scale_width", aspect_ratio=1, margin=0)

    def draw(self, image: np.ndarray) -> None:
        """Show packed RGBA or a value map whose first row is the bottom."""
        height, width = image.shape
        self._source.data = dict(image=[image], x=[0], y=[0], dw=[width], dh=[height])

    def clear(self) -> None:
        """Show no picture."""
        self._source.data = dict(image=[], x=[], y=[], dw=[], dh=[])


class Tile:
    """A canvas under its name, with PSNR and SSIM below."""

    def __init__(self, name: str, window: Window):
        self.canvas = Canvas(name, window)
        self._shown: Picture | None = None
        self._name = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 2))
        # Two lines for all, so that what stands below tiles stays in one row.
        self._score = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 2), min_height=36)
        self.panel = pn.Column(
            self._name,
            self.canvas.panel,
            self._score,
            margin=0,
            sizing_mode="stretch_width",
        )

    def label(self, name: str, current: bool, color: str = "") -> None:
        """Set the name, plain text, with a square of `color` before it; `current`: at the sliders' bits."""
        square = f"<span style='color:{color}'>■</span> " if color else ""
        weight = "700" if current else "500"
        mark = " ◂ sliders" if current else ""
        self._name.object = (
            f"<div style='font-weight:{weight};font-size:13px'>{square}{escape(name)}{mark}</div>"
        )

    def show(self, picture: Picture) -> None:
        """Show a picture and its scores."""
        if picture is not self._shown:
            self.canvas.draw(rgba(picture.rgb))
            self._shown = picture
        self.panel.styles = {"opacity": "1"}
        score = TRUTH if picture.against == TRUTH else "the others are scored against it"
        if picture.psnr is not None:
            score = f"{decibel(picture.psnr)} · SSIM {picture.ssim:.3f}{against(picture.against)}"
        if picture.effective is not None:
            score += "<br>effective bits W{:.2f} A{:.2f}".format(*picture.effective)
        if tiles := of_tiles(picture.tiles):
            score += f"<br>{tiles}"
        self._score.object = f"<div style='font-size:12px'>{score}</div>"

    def wait(self) -> None:
        """Dim picture and scores, which may be old, if that lasts."""
        self.panel.styles = {"opacity": "0.35", "transition": "opacity 0.1s 0.3s"}

    def say(self, sentence: str) -> None:
        """Show a sentence, as plain text, in place of a picture."""
        self.canvas.clear()
        self._shown = None
        self.panel.styles = {"opacity": "1"}
        self._score.object = f"<div style='font-size:12px;opacity:.8'>{escape(sentence)}</div>"
