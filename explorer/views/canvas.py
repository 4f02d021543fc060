"""Canvases for pictures, which zoom together."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence

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

from explorer.views.theme import DIFFERENCE_TOP

MIN_PIXELS = 8  # of a picture, across the frame at the closest zoom


def grid(*tiles: pn.Column, **options) -> pn.Row:
    """Return tiles side by side, in as many rows as they need."""
    return pn.Row(*tiles, sizing_mode="stretch_width", css_classes=["tiles"], **{"margin": 0, **options})


def show_only(layout: pn.layout.ListPanel, shown: Sequence[pn.viewable.Viewable]) -> None:
    """Show exactly these parts of a layout in their order; hide others.

    A part that is taken out would come back as new models, and the browser's document forgets no model.
    """
    if [part for part in layout if part in shown] != list(shown):
        layout.objects = [*shown, *(part for part in layout if part not in shown)]
    for part in layout:
        part.visible = part in shown


def difference_canvas(name: str, window: Window) -> Canvas:
    """Make a canvas for a difference (H, W) in 8-bit levels, on the scale that all share."""
    return Canvas(name, window, LinearColorMapper("Inferno256", low=0, high=DIFFERENCE_TOP))


def rgba(rgb: np.ndarray) -> np.ndarray:
    """Pack (H, W, 3) uint8 into (H, W) uint32 as Bokeh draws it, first row at the bottom."""
    height, width, _ = rgb.shape
    packed = np.full((height, width, 4), 255, np.uint8)
    packed[..., :3] = rgb[::-1]
    return packed.view(np.uint32).reshape(height, width)


class Window:
    """The zoom that all pictures of a view share: none can be dragged out of sight or shrunk."""

    def __init__(self):
        self.x_range, self.y_range = Range1d(0, 256), Range1d(0, 256)
        self._size: tuple[int, int] | None = None
        self._canvases: list[Canvas] = []
        self.zoomed: list[Callable[[], None]] = []  # called when the pictures were zoomed or moved
        # Weakly: Panel keeps what a script in the browser names, and with it all that leads to its widget.
        moved = weakref.WeakMethod(self._follow)
        for axis in (self.x_range, self.y_range):  # moved here, or by a hand in the browser
            for edge in ("start", "end"):
                axis.on_change(edge, lambda attr, old, new: (follow := moved()) and follow())

    @property
    def factor(self) -> float:
        """By how much the pictures are enlarged: 1 where they are shown whole."""
        return round(max(self._size or (256, 256)) / (self.x_range.end - self.x_range.start), 6)

    def add(self, canvas: Canvas) -> None:
        """Let a canvas move with the others."""
        self._canvases.append(canvas)
        canvas.allow_drag(self.factor > 1)

    def zoom(self, factor: int) -> None:
        """Show 1 / factor of the whole picture's side around the middle of what is shown now."""
        height, width = self._size or (256, 256)
        side = max(height, width)
        for axis, whole in ((self.x_range, width), (self.y_range, height)):
            low = (whole - side) / 2
            start = (axis.start + axis.end - side / factor) / 2
            start = min(max(start, low), low + side - side / factor)
            axis.update(start=start, end=start + side / factor)

    def fit(self, height: int, width: int) -> None:
        """Centre pictures of a new size in the square frames; the same size keeps the zoom."""
        if (height, width) != self._size:
            self._size = (height, width)
            self.reset()

    def reset(self) -> None:
        """Show the whole pictures."""
        height, width = self._size or (256, 256)
        side = max(height, width)
        for axis, whole in ((self.x_range, width), (self.y_range, height)):
            low = (whole - side) / 2
            # The bounds first: the browser keeps start and end within them.
            axis.update(bounds=(low, low + side), min_interval=MIN_PIXELS)
            axis.update(start=low, end=low + side)

    def _follow(self) -> None:
        """Let a drag move what is enlarged; on a whole picture a finger scrolls the page."""
        if not math.isclose(self.x_range.end - self.x_range.start, self.y_range.end - self.y_range.start):
            return  # of a square's four edges, which come one after the other, some are still to come
        for call in self.zoomed:
            call()
        for canvas in self._canvases:
            canvas.allow_drag(self.factor > 1)


class Canvas:
    """One picture in a square frame with square pixels; canvases of one window zoom together."""

    def __init__(self, name: str, window: Window, mapper: LinearColorMapper | None = None):
        self._source = ColumnDataSource(dict(image=[], x=[], y=[], dw=[], dh=[]))
        # With Ctrl alone: a wheel scrolls the page, whatever it is over.
        wheel, self._pan = WheelZoomTool(modifiers={"ctrl": True}), PanTool()
        self.figure = figure(
            name=name,
            x_range=window.x_range,
            y_range=window.y_range,
            tools=[self._pan, wheel],
            active_scroll=wheel,
            active_drag=None,
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
        window.add(self)

    def allow_drag(self, allowed: bool) -> None:
        """Let a drag move what is shown, or leave it to the page."""
        self.figure.toolbar.active_drag = self._pan if allowed else None

    def draw(self, image: np.ndarray) -> None:
        """Show packed RGBA or a value map whose first row is the bottom."""
        height, width = image.shape
        self._source.data = dict(image=[image], x=[0], y=[0], dw=[width], dh=[height])

    def clear(self) -> None:
        """Show no picture."""
        self._source.data = dict(image=[], x=[], y=[], dw=[], dh=[])
