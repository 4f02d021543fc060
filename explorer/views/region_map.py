"""A small picture of the whole image with the region that is super-resolved; a tap moves it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import panel as pn
from bokeh.events import Tap
from bokeh.models import BoxAnnotation, ColumnDataSource, Range1d
from bokeh.plotting import figure

from explorer.choices.region import ELSEWHERE, Region, Window
from explorer.views.canvas import rgba
from explorer.views.theme import ACCENT

WIDTH, MAX_HEIGHT = 112, 112  # on the screen


class PlaceView:
    """The map; `on_move(region)` is called with the place that a person taps, as the state has it."""

    def __init__(self, on_move: Callable[[str], None]):
        self._on_move, self._shown = on_move, None
        self._source = ColumnDataSource(dict(image=[], dw=[], dh=[]))
        self.figure = figure(
            name="place", width=WIDTH, height=MAX_HEIGHT, x_range=Range1d(0, 1), y_range=Range1d(0, 1),
            x_axis_type=None, y_axis_type=None, tools="tap", toolbar_location=None, min_border=0,
            outline_line_color=None,
        )  # fmt: skip
        self.figure.image_rgba("image", 0, 0, "dw", "dh", source=self._source)
        self._box = BoxAnnotation(
            left=0,
            right=1,
            bottom=0,
            top=1,
            fill_alpha=0.15,
            fill_color="white",
            line_color=ACCENT,
            line_alpha=1,
            line_width=2,
        )
        self.figure.add_layout(self._box)
        self.figure.on_event(Tap, self._tapped)
        self.panel = pn.Column(pn.pane.Bokeh(self.figure, margin=0), margin=0)

    def show(self, picture: np.ndarray, part: Window, size: tuple[int, int]) -> None:
        """Mark `part` of an LR image of that height and width."""
        height, width = size
        if picture is not self._shown:
            share = min(WIDTH / width, MAX_HEIGHT / height)
            self.figure.update(width=round(share * width), height=round(share * height))
            self._source.data = dict(image=[rgba(picture)], dw=[1], dh=[1])
            self._shown = picture
        self._box.update(
            left=part.left / width,
            right=(part.left + part.width) / width,
            top=1 - part.top / height,
            bottom=1 - (part.top + part.height) / height,
        )

    def _tapped(self, event: Tap) -> None:
        if event.x is not None:
            x, y = (5 * round(200 * min(max(n, 0), 1)) for n in (event.x, 1 - event.y))
            self._on_move(str(Region(ELSEWHERE, x, y)))
