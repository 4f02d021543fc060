"""Methods side by side: small pictures, the chosen one large beside the reference, scores, and a profile."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np
import panel as pn
from bokeh.events import SelectionGeometry, Tap
from bokeh.models import BoxAnnotation, BoxSelectTool, Span

from explorer.elements.colors import DIFFERENCE_PALETTE
from explorer.elements.methods import profile
from explorer.pipeline.method_comparison import Inspection, MethodResult
from explorer.server.document_queue import held
from explorer.views.canvas import Canvas, Window, rgba, show_only
from explorer.views.drawn import Drawn
from explorer.views.format import against, decibel
from explorer.views.theme import (
    ACCENT,
    DIFFERENCE_SCALE,
    DIFFERENCE_TOP,
    DIMMED,
    METHOD_COLORS,
    NEUTRAL,
    SHOWN,
    TABLE,
    table,
)
from explorer.views.tile import Tile

COLORS = METHOD_COLORS | {"hr": "#222222", "float": NEUTRAL}
LARGE, BESIDE = "method large", "method beside"
# Of a button that is on or off: whether drags on the large pictures draw a region.
SELECT = f"""
for (const name of {[LARGE, BESIDE]}) {{
  for (const tool of cb_obj.document.get_model_by_name(name)?.toolbar.tools ?? [])
    if (tool.type == 'BoxSelectTool') tool.active = cb_obj.active;
    else if (tool.type == 'PanTool') tool.active = !cb_obj.active;
}}
"""
HEATS = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in DIFFERENCE_PALETTE], np.uint8)


class Thumbnail:
    """A small picture under a button with its name; either is tapped to see it large."""

    def __init__(self, key: str, window: Window, on_choice: Callable[[str], None]):
        self.canvas = Canvas(f"method {key}", window)
        self.canvas.figure.on_event(Tap, lambda event: on_choice(key))
        self.button = pn.widgets.Button(
            color="primary", css_classes=["small"], sizing_mode="stretch_width", margin=0
        )
        self.button.on_click(held(lambda _: on_choice(key)))
        self.score = pn.pane.HTML("", css_classes=["text"], sizing_mode="stretch_width", margin=(2, 0))
        self.panel = pn.Column(
            self.button, self.canvas.panel, self.score, sizing_mode="stretch_width", margin=0
        )

    def show(self, found: MethodResult) -> None:
        """Show the picture and its PSNR."""
        self.canvas.draw(rgba(found.picture.rgb))
        self.write("" if found.picture.psnr is None else decibel(found.picture.psnr))

    def write(self, text: str) -> None:
        """Write a text below the picture, no longer dimmed."""
        self.score.object = f"<div class='note'>{escape(text)}</div>"
        self.panel.styles = SHOWN

    def wait(self) -> None:
        """Dim the picture, which may be old, if that lasts."""
        self.panel.styles = DIMMED


class Marks:
    """The region and the line on a picture, and the drags and taps that choose them."""

    def __init__(self, canvas: Canvas, on_drag: Callable, on_tap: Callable):
        line = dict(line_color=ACCENT, line_width=2)
        self._box = BoxAnnotation(
            fill_alpha=0, **line, visible=False, left=0, right=1, bottom=0, top=1, line_alpha=1
        )
        self._line = Span(dimension="width", **line, line_dash="dotted", location=-99)
        for mark in (self._box, self._line):
            canvas.figure.add_layout(mark)
        canvas.figure.add_tools(BoxSelectTool(renderers=[], persistent=False))
        canvas.figure.on_event(SelectionGeometry, on_drag)
        canvas.figure.on_event(Tap, on_tap)

    def show(self, inspection: Inspection, height: int, width: int) -> None:
        """Draw the region and the line of `inspection`; Bokeh counts rows from the bottom."""
        region, line = inspection.region(height, width), inspection.line(height, width)[0]
        self._box.visible = region is not None
        if region is not None:
            left, top, right, bottom = region
            self._box.update(left=left, right=right, top=height - top, bottom=height - bottom)
        row = inspection.direction == "row"
        self._line.update(
            dimension="width" if row else "height", location=height - line - 0.5 if row else line + 0.5
        )


class MethodsView:
    """Pictures, table and profile.

    `on_inspect(box=..., spot=...)` is called with a new region or spot, `on_choice(key)` with the picture
    that is to be large.
    """

    def __init__(self, on_inspect: Callable[..., None], on_choice: Callable[[str], None]):
        self._on_inspect, self._on_choice = on_inspect, on_choice
        self._names: dict[str, str] = {}
        self._found: dict[str, MethodResult] = {}
        self._said: dict[str, str] = {}
        self._asked, self._beside = "", "reference"
        self._height = 0
        self.window = Window()
        self._thumbnails: dict[str, Thumbnail] = {}
        wide = dict(sizing_mode="stretch_width")
        self.strip = pn.Row(css_classes=["strip"], **wide)
        self.large = Tile(LARGE, self.window)
        self.other = Canvas(BESIDE, self.window)
        self._title = pn.pane.HTML("", margin=(0, 2), **wide)
        self._below = pn.pane.HTML("", margin=(0, 2), min_height=36, **wide)
        self._marks = [Marks(c, self._dragged, self._tapped) for c in (self.other, self.large.canvas)]
        self.table = pn.pane.HTML("", stylesheets=[TABLE], margin=0, **wide)
        self.profile = Drawn(profile, 230)
        beside = pn.Column(self._title, self.other.panel, self._below, margin=0, **wide)
        pair = pn.Column(beside, self.large.panel, css_classes=["pairs"], **wide)
        scores = pn.Column(self.table, self.profile.panel, margin=0, **wide)
        self.panel = pn.Column(
            self.strip, pn.Column(pair, scores, css_classes=["large"], **wide), css_classes=["card"], **wide
        )

    def _dragged(self, event: SelectionGeometry) -> None:
        g = event.geometry
        if event.final and g["type"] == "rect":
            edges = (g["x0"], self._height - g["y1"], g["x1"], self._height - g["y0"])
            self._on_inspect(box=[round(edge) for edge in edges])

    def _tapped(self, event: Tap) -> None:
        if event.x is not None:
            self._on_inspect(spot=[int(event.x), int(self._height - event.y)])

    def _thumbnail(self, key: str) -> Thumbnail:
        if key not in self._thumbnails:
            self._thumbnails[key] = Thumbnail(key, self.window, self._on_choice)
        return self._thumbnails[key]

    def arrange(self, names: dict[str, str]) -> None:
        """Show exactly the pictures of `names` (key -> title), dimmed until they are computed."""
        self._names, self._found, self._said = names, {}, {}
        show_only(self.strip, [self._thumbnail(key).panel for key in names])
        for key in names:
            self._thumbnail(key).wait()
        self._label()
        self.large.wait()

    def enlarge(self, key: str, beside: str) -> None:
        """Show that picture large, or the first method's; beside: "reference" or "difference"."""
        self._asked, self._beside = key, beside
        if self._names:
            self._label()
            self._draw()

    @property
    def _shown(self) -> str:
        """The key of the large picture."""
        methods = [key for key in self._names if key not in ("hr", "float")]
        return self._asked if self._asked in self._names else next(iter(methods), "float")

    def _label(self) -> None:
        """Name the large picture, and the small ones so that its button stands out."""
        self.large.label(self._names[self._shown], False, COLORS[self._shown])
        for key, name in self._names.items():
            short = key if key in METHOD_COLORS else name.split(",")[0]
            variant = "solid" if key == self._shown else "outline"
            self._thumbnail(key).button.param.update(label=short, variant=variant)

    def _draw(self) -> None:
        """Draw the large picture, and the reference or the difference beside it."""
        key = self._shown
        if key in self._said:
            self.large.say(self._said[key])
        if key not in self._found:
            return
        found = self._found[key]
        self.large.show(found.picture)
        truth = found.picture.against
        if self._beside == "difference" and found.error is not None:
            self._title.object = _small(f"Its difference from the {truth}")
            self._below.object = f"{_small('mean |RGB| / 8-bit levels')}{DIFFERENCE_SCALE}"
            self.other.draw(rgba(heat(found.error)))
            return
        reference = next(iter(self._found))
        self._title.object = _small(self._names[reference])
        self._below.object = _small("")
        self.other.draw(rgba(self._found[reference].picture.rgb))

    def show(self, key: str, found: MethodResult, inspection: Inspection) -> None:
        """Show a method's picture, and region and line on the large ones."""
        height, width = found.picture.rgb.shape[:2]
        self._height = height
        self.window.fit(height, width)
        self._found[key] = found
        self._thumbnail(key).show(found)
        for marks in self._marks:
            marks.show(inspection, height, width)
        if key == self._shown:
            self._draw()

    def say(self, key: str, sentence: str) -> None:
        """Say why a method has no picture."""
        self._said[key] = sentence
        self._thumbnail(key).canvas.clear()
        self._thumbnail(key).write(sentence)
        if key == self._shown:
            self._draw()

    def show_all(self, inspection: Inspection) -> None:
        """Show the table and the profiles."""
        found, names = self._found, self._names
        truth = next(iter(found.values())).picture.against
        scored = {key: shown for key, shown in found.items() if shown.error is not None}
        region = len(inspection.box) == 4
        titles = {key: key if key in METHOD_COLORS else name for key, name in names.items()}
        rows = [_row(COLORS[key], titles[key], shown, truth, region) for key, shown in scored.items()]
        self.table.object = table(rows) if rows else ""
        self.profile.show(found, names, inspection)


def heat(error: np.ndarray) -> np.ndarray:
    """Colour an error map (H, W), in 8-bit levels, as (H, W, 3) uint8, on one scale for all."""
    return HEATS[np.clip(error / DIFFERENCE_TOP * (len(HEATS) - 1), 0, len(HEATS) - 1).astype(int)]


def _small(text: str) -> str:
    return f"<div style='font-size:13px'>{escape(text)}</div>"


def _row(color: str, name: str, found: MethodResult, truth: str, region: bool) -> dict[str, str]:
    """Write a picture's scores; `region`: and those of the region."""
    row = {
        "": f"<span style='white-space:nowrap'><span style='color:{color}'>■</span> {escape(name)}</span>",
        f"PSNR{against(truth)} / dB": decibel(found.picture.psnr).removesuffix(" dB"),
        f"SSIM{against(truth)}": f"{found.picture.ssim:.4f}",
    }
    if region:
        row["region: PSNR"] = decibel(found.psnr).removesuffix(" dB")
        row["region: SSIM"] = "–" if found.ssim is None else f"{found.ssim:.4f}"
    return row | {"colour shift": f"{found.shift:.2f}"}
