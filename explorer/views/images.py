"""Pictures side by side with linked zoom; or two of them large, with a divider and their difference."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import panel as pn

from explorer.pipeline.pictures import Picture
from explorer.views.canvas import Canvas, Window, difference_canvas, grid, rgba, show_only
from explorer.views.tile import Tile

# The divider of two pictures, visible on light and dark ones.
LINE = {"width": "2px", "background": "#E3342F", "pointer-events": "none", "z-index": "2"}
ZOOMS = {"1×": 1, "2×": 2, "4×": 4}


class ImagesView:
    """Tiles, swipe and difference; the key of a picture is a word, or the bits of a quantized one.

    `on_tap(key)` is called when a person taps a picture.
    """

    def __init__(self, on_tap: Callable[[object], None] = lambda key: None):
        self._on_tap = on_tap
        self.window = Window()
        self._tiles: list[Tile] = []  # by their place: another picture in it costs no new layout of the page
        self._keys: list[object] = []
        self._compared: tuple[Picture | None, Picture | None] = (None, None)
        self.left, self.right = (Canvas(f"large {side}", self.window) for side in ("left", "right"))
        self.difference = difference_canvas("large difference", self.window)
        self.divider = pn.widgets.IntSlider(label="Divider (%)", value=50, end=100, margin=(0, 0, 8, 0))
        self.swipe = self._swipe()
        self.grid = grid()
        self.zoom = pn.widgets.RadioButtonGroup(options=ZOOMS, value=1, css_classes=["chips"], margin=0)
        self.zoom.param.watch(self._zoom, "value")
        self.window.zoomed.append(self._say_zoom)

    def _zoom(self, event) -> None:
        if event.new not in (None, self.window.factor):
            self.window.zoom(event.new)

    def _say_zoom(self) -> None:
        """Mark how far the pictures are enlarged; nothing where a wheel chose another factor."""
        self.zoom.value = self.window.factor if self.window.factor in ZOOMS.values() else None

    def _swipe(self) -> pn.Column:
        """Lay both pictures over each other, the left one cut at a divider that moves in the browser alone.

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
            styles={"display": "grid", "grid-template-columns": "minmax(0, 1fr)"},
        )

    def tile(self, key: object) -> Tile:
        """Return the tile that shows a key; ValueError if none does."""
        return self._tiles[self._keys.index(key)]

    def _make_tile(self, place: int) -> Tile:
        return Tile(f"picture {self._keys[place]}", self.window, lambda: self._on_tap(self._keys[place]))

    def arrange(self, names: dict, current: object, new: Collection = (), differences: bool = False) -> None:
        """Show exactly the tiles of `names` (key -> title); `current` is the one at the sliders' bits.

        new: those whose pictures are still to be computed. differences: whether they will have some below.
        """
        self._keys = list(names)
        self._tiles += [self._make_tile(place) for place in range(len(self._tiles), len(names))]
        for tile, (key, name) in zip(self._tiles, names.items(), strict=False):
            tile.rename(f"picture {key}")
            tile.label(name, key == current)
            if differences:
                tile.make_difference()
            else:
                tile.hide_difference()
            if key in new:
                tile.wait()
        show_only(self.grid, [tile.panel for tile in self._tiles[: len(names)]])

    def show(self, key: object, picture: Picture, best: Picture | None = None) -> None:
        """Show a picture in its tile; `best`: whose PSNR its own is compared with."""
        self.window.fit(*picture.rgb.shape[:2])
        self.tile(key).show(picture, best)

    def show_difference(self, key: object, difference: np.ndarray | None) -> None:
        """Show below a picture by how much it differs, (H, W) in 8-bit levels."""
        self.tile(key).show_difference(difference)

    def say(self, key: object, sentence: str) -> None:
        """Say in a tile why there is no picture."""
        self.tile(key).say(sentence)

    def clear_comparison(self) -> None:
        """Show no comparison: one of the two cannot be computed, and its tile says why."""
        self._compared = (None, None)
        for canvas in (self.left, self.right, self.difference):
            canvas.clear()

    def compare(self, left: Picture, right: Picture, difference: np.ndarray) -> None:
        """Show two pictures in the swipe, and their difference (H, W)."""
        self.window.fit(*left.rgb.shape[:2])
        if left is self._compared[0] and right is self._compared[1]:
            return
        self._compared = (left, right)
        self.left.draw(rgba(left.rgb))
        self.right.draw(rgba(right.rgb))
        self.difference.draw(difference[::-1])
