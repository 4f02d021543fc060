"""Pictures side by side with linked zoom, a swipe between two, and their difference."""

from __future__ import annotations

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, LinearColorMapper, PanTool, Range1d, WheelZoomTool
from bokeh.palettes import Inferno11
from bokeh.plotting import figure

from explorer.pipeline import Picture
from explorer.views.style import decibel

# Panel's columns hold a button for scrolling, which would take a cell of the grid.
GRID = """
.scroll-button { display: none; }
:host {
  display: grid; gap: 10px 12px; grid-template-columns: repeat(auto-fill, minmax(max(160px, 22%), 1fr));
}
"""
# The divider of two pictures, visible on light and dark ones.
LINE = {"width": "2px", "background": "#E3342F", "pointer-events": "none", "z-index": "2"}
DIFFERENCE_TOP = 32  # 8-bit levels at the end of the colour scale, the same for every pair
# Drawn beside the map, not in it, so that its pixels stay square and aligned with the pictures'.
DIFFERENCE_SCALE = f"""<div style="display:flex;align-items:center;gap:6px;font-size:12px"><span>0</span>
<div style="width:140px;height:10px;background:linear-gradient(to right,{",".join(Inferno11)})"></div>
<span>{DIFFERENCE_TOP} or more</span></div>"""


def rgba(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) uint32 as Bokeh draws it, first row at the bottom."""
    height, width, _ = rgb.shape
    packed = np.full((height, width, 4), 255, np.uint8)
    packed[..., :3] = rgb[::-1]
    return packed.view(np.uint32).reshape(height, width)


class Canvas:
    """One picture in a square frame with square pixels; canvases that share ranges zoom together."""

    def __init__(
        self, name: str, x_range: Range1d, y_range: Range1d, mapper: LinearColorMapper | None = None
    ):
        self._source = ColumnDataSource(dict(image=[], x=[], y=[], dw=[], dh=[]))
        wheel = WheelZoomTool()
        self.figure = figure(
            name=name,
            x_range=x_range,
            y_range=y_range,
            tools=[PanTool(), wheel],
            active_scroll=wheel,
            toolbar_location=None,
            sizing_mode="scale_width",
            aspect_ratio=1,
            min_border=0,
            outline_line_color=None,
        )
        self.figure.axis.visible = False
        self.figure.grid.visible = False
        place = dict(image="image", x="x", y="y", dw="dw", dh="dh", source=self._source)
        if mapper is None:
            self.figure.image_rgba(**place)
        else:
            self.figure.image(color_mapper=mapper, **place)

        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="scale_width", aspect_ratio=1, margin=0)

    def draw(self, image: np.ndarray) -> None:
        """Show packed RGBA or a value map whose first row is the bottom."""
        height, width = image.shape
        self._source.data = dict(image=[image], x=[0], y=[0], dw=[width], dh=[height])

    def clear(self) -> None:
        self._source.data = dict(image=[], x=[], y=[], dw=[], dh=[])


class Tile:
    """A canvas under its name, with PSNR and SSIM below."""

    def __init__(self, name: str, x_range: Range1d, y_range: Range1d):
        self.canvas = Canvas(name, x_range, y_range)
        self._shown: Picture | None = None
        self._name = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 2))
        self._score = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 2), min_height=20)
        self.panel = pn.Column(
            self._name,
            self.canvas.panel,
            self._score,
            margin=0,
            sizing_mode="stretch_width",
        )

    def label(self, name: str, current: bool) -> None:
        weight = "700" if current else "500"
        mark = " ◂ sliders" if current else ""
        self._name.object = f"<div style='font-weight:{weight};font-size:13px'>{name}{mark}</div>"

    def show(self, picture: Picture) -> None:
        if picture is not self._shown:
            self.canvas.draw(rgba(picture.rgb))
            self._shown = picture
        self.panel.styles = {"opacity": "1"}
        score = (
            "ground truth" if picture.psnr is None else f"{decibel(picture.psnr)} · SSIM {picture.ssim:.3f}"
        )
        self._score.object = f"<div style='font-size:12px'>{score}</div>"

    def wait(self) -> None:
        """The picture and its numbers may be old: dim them if that lasts."""
        self.panel.styles = {"opacity": "0.35", "transition": "opacity 0.1s 0.3s"}

    def say(self, sentence: str) -> None:
        """A sentence in the place of a picture."""
        self.canvas.clear()
        self._shown = None
        self.panel.styles = {"opacity": "1"}
        self._score.object = f"<div style='font-size:12px;opacity:.8'>{sentence}</div>"


class ImagesView:
    """`keys` names every picture that may be shown, in order: a word, or the bits of a quantized one."""

    def __init__(self, keys: list):
        self.x_range, self.y_range = Range1d(0, 256), Range1d(0, 256)
        self.tiles = {key: Tile(f"picture {key}", self.x_range, self.y_range) for key in keys}
        self._size: tuple[int, int] | None = None
        self._compared: tuple[Picture | None, Picture | None] = (None, None)
        self.left, self.right = (Canvas(side, self.x_range, self.y_range) for side in ("left", "right"))
        mapper = LinearColorMapper("Inferno256", low=0, high=DIFFERENCE_TOP)
        self.difference = Canvas("difference", self.x_range, self.y_range, mapper)
        self.divider = pn.widgets.IntSlider(label="Divider (%)", value=50, end=100, width=96, margin=(0, 8))
        self.swipe = self._swipe()
        self.grid = pn.Column(sizing_mode="stretch_width", stylesheets=[GRID])

    def _swipe(self) -> pn.Column:
        """Both pictures in one place, the left one cut off at the divider, which moves in the browser alone.

        (Figures inside Panel's own Swipe never count as drawn, so the page would never be ready.)
        """
        style = "'grid-area': '1 / 1'"
        line = pn.pane.HTML(
            "",
            styles=LINE | {"grid-area": "1 / 1", "margin-left": "50%"},
            margin=0,
            sizing_mode="stretch_height",
        )
        self.right.panel.styles = {"grid-area": "1 / 1"}
        self.left.panel.styles = {"grid-area": "1 / 1", "clip-path": "inset(0 50% 0 0)"}
        self.divider.jscallback(
            args={"left": self.left.panel, "line": line, "look": LINE},
            value=f"""
            left.styles = {{{style}, 'clip-path': `inset(0 ${{100 - cb_obj.value}}% 0 0)`}};
            line.styles = {{...look, {style}, 'margin-left': `${{cb_obj.value}}%`}};
            """,
        )
        return pn.Column(
            self.right.panel,
            self.left.panel,
            line,
            sizing_mode="stretch_width",
            margin=0,
            stylesheets=[":host { display: grid; grid-template-columns: minmax(0, 1fr); }"],
        )

    def fit(self, height: int, width: int) -> None:
        """Centre pictures of a new size in the square frames; the same size keeps the zoom."""
        if (height, width) == self._size:
            return
        self._size = (height, width)
        self.reset_zoom()

    def reset_zoom(self) -> None:
        height, width = self._size or (256, 256)
        side = max(height, width)
        left, bottom = (width - side) / 2, (height - side) / 2
        self.x_range.update(start=left, end=left + side)
        self.y_range.update(start=bottom, end=bottom + side)

    def arrange(self, names: dict, current: object) -> None:
        """Show exactly the tiles of `names` (key -> title); `current` is the one at the sliders' bits."""
        shown = [self.tiles[key].panel for key in names]
        if list(self.grid) != shown:
            self.grid.objects = shown
        for key, name in names.items():
            self.tiles[key].label(name, key == current)
            self.tiles[key].wait()

    def clear_comparison(self) -> None:
        """One of the two cannot be computed; its tile says why."""
        self._compared = (None, None)
        for canvas in (self.left, self.right, self.difference):
            canvas.clear()

    def compare(self, left: Picture, right: Picture, difference: np.ndarray) -> None:
        if left is self._compared[0] and right is self._compared[1]:
            return
        self._compared = (left, right)
        self.left.draw(rgba(left.rgb))
        self.right.draw(rgba(right.rgb))
        self.difference.draw(difference[::-1])
