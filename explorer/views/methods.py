"""Methods side by side: pictures, error maps, scores of a region, and a line across an edge."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np
import panel as pn
from bokeh.events import SelectionGeometry, Tap
from bokeh.models import (
    BoxAnnotation,
    BoxSelectTool,
    ColumnDataSource,
    LinearColorMapper,
    Span,
)

from explorer.pipeline.method_comparison import Inspection, MethodResult
from explorer.pipeline.pictures import TRUTH
from explorer.views.canvas import Canvas, Window, grid
from explorer.views.format import against, decibel
from explorer.views.theme import (
    ACCENT,
    DIFFERENCE_SCALE,
    DIFFERENCE_TOP,
    METHOD_COLORS,
    NEUTRAL,
    TABLE,
    pane,
    plot,
    table,
)
from explorer.views.tile import Tile

COLORS = METHOD_COLORS | {"hr": "#222222", "float": NEUTRAL}
# Of a button that is on or off: whether drags on the pictures that are there draw a region.
SELECT = f"""
for (const name of {[f"{kind} {key}" for kind in ("method", "error") for key in COLORS]}) {{
  for (const tool of cb_obj.document.get_model_by_name(name)?.toolbar.tools ?? [])
    if (tool.type == 'BoxSelectTool') tool.active = cb_obj.active;
    else if (tool.type == 'PanTool') tool.active = !cb_obj.active;
}}
"""


class Cell:
    """The picture of one method over its error map, with the region and the line drawn in both."""

    def __init__(self, key: str, window: Window):
        self.tile = Tile(f"method {key}", window)
        mapper = LinearColorMapper("Inferno256", low=0, high=DIFFERENCE_TOP)
        self.error = Canvas(f"error {key}", window, mapper)
        self._error: np.ndarray | None = None
        self.boxes, self.lines, self.selects = [], [], []
        for fig in (self.tile.canvas.figure, self.error.figure):
            box = BoxAnnotation(
                fill_alpha=0, line_color=ACCENT, line_width=2, visible=False, left=0, right=1, bottom=0, top=1
            )
            line = Span(dimension="width", line_color=ACCENT, line_dash="dotted", location=-99)
            select = BoxSelectTool(renderers=[], persistent=False)
            fig.add_layout(box)
            fig.add_layout(line)
            fig.add_tools(select)
            self.boxes.append(box)
            self.lines.append(line)
            self.selects.append(select)
        self.figures = [self.tile.canvas.figure, self.error.figure]
        self.panel = pn.Column(self.tile.panel, self.error.panel, sizing_mode="stretch_width", margin=0)

    def show(self, found: MethodResult) -> None:
        """Show picture and error map."""
        self.tile.show(found.picture)
        if found.error is None:
            self.error.clear()
        elif found.error is not self._error:
            self.error.draw(found.error[::-1])
        self._error = found.error

    def mark(self, inspection: Inspection, height: int, width: int) -> None:
        """Draw the region and the line of `inspection`; Bokeh counts rows from the bottom."""
        region, line = inspection.region(height, width), inspection.line(height, width)[0]
        for box in self.boxes:
            box.visible = region is not None
            if region is not None:
                left, top, right, bottom = region
                box.update(left=left, right=right, top=height - top, bottom=height - bottom)
        for span in self.lines:
            row = inspection.direction == "row"
            span.update(
                dimension="width" if row else "height", location=height - line - 0.5 if row else line + 0.5
            )

    def select(self) -> None:
        """Let drags draw a region instead of moving the picture, from the start."""
        for fig, select in zip(self.figures, self.selects, strict=True):
            fig.toolbar.active_drag = select


class MethodsView:
    """Cells, table and profiles; `on_inspect(box=..., spot=...)` is called with a new region or spot."""

    def __init__(self, on_inspect: Callable[..., None]):
        self._on_inspect = on_inspect
        self.selecting = False  # whether drags on pictures that are yet to come draw a region
        self._height = 0
        self.window = Window()
        self._cells: dict[str, Cell] = {}
        self.grid = grid()
        self.table = pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[TABLE], margin=(8, 0))
        self.scale = pn.pane.HTML(SCALE.format(TRUTH), margin=(4, 8))
        self.profile = plot("", "pixel", "luma / 8-bit levels", 300, name="profile")
        self._lines: dict[str, ColumnDataSource] = {}
        self._line("hr")
        self.legend = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 8))
        self.panel = pn.Column(
            self.grid,
            self.scale,
            self.table,
            pane(self.profile),
            self.legend,
            sizing_mode="stretch_width",
            margin=0,
        )

    def _cell(self, key: str) -> Cell:
        if key not in self._cells:
            cell = self._cells[key] = Cell(key, self.window)
            if self.selecting:
                cell.select()
            for fig in cell.figures:
                fig.on_event(SelectionGeometry, self._drawn)
                fig.on_event(Tap, self._tapped)
        return self._cells[key]

    def _drawn(self, event: SelectionGeometry) -> None:
        g = event.geometry
        if event.final and g["type"] == "rect":
            edges = (g["x0"], self._height - g["y1"], g["x1"], self._height - g["y0"])
            self._on_inspect(box=[round(edge) for edge in edges])

    def _tapped(self, event: Tap) -> None:
        if event.x is not None:
            self._on_inspect(spot=[int(event.x), int(self._height - event.y)])

    def arrange(self, names: dict[str, str]) -> None:
        """Show exactly the methods of `names` (key -> title), dimmed until they are computed."""
        shown = [self._cell(key).panel for key in names]
        if list(self.grid) != shown:
            self.grid.objects = shown
        for key, name in names.items():
            tile = self._cell(key).tile
            tile.label(name, False, COLORS[key])
            tile.wait()

    def show(self, key: str, found: MethodResult, inspection: Inspection) -> None:
        """Show a method's picture with region and line."""
        height, width = found.picture.rgb.shape[:2]
        self._height = height
        self.window.fit(height, width)
        self._cell(key).show(found)
        self._cell(key).mark(inspection, height, width)

    def say(self, key: str, sentence: str) -> None:
        """Say why a method has no picture."""
        self._cell(key).tile.say(sentence)
        self._cell(key).error.clear()

    def show_all(self, found: dict[str, MethodResult], names: dict[str, str], inspection: Inspection) -> None:
        """Show the table and the profiles."""
        truth = next(iter(found.values())).picture.against
        self.scale.object = SCALE.format(truth)
        scored = {key: shown for key, shown in found.items() if shown.error is not None}
        rows = [_row(names[key], shown, truth) for key, shown in scored.items()]
        self.table.object = table(rows) if rows else ""
        line, start, end = inspection.line(*next(iter(found.values())).picture.rgb.shape[:2])
        for key in [*self._lines]:
            if key not in found:
                self._lines[key].data = dict(x=[], y=[])
        for key, shown in found.items():
            self._line(key).data = dict(x=np.arange(start, end), y=shown.profile)
        self.legend.object = _legend({key: names[key] for key in found})
        values = np.concatenate([shown.profile for shown in found.values()])
        room = 0.05 * max(float(np.ptp(values)), 4)
        self.profile.x_range.update(start=start, end=end - 1)
        self.profile.y_range.update(start=float(values.min()) - room, end=float(values.max()) + room)
        self.profile.title.text = f"Luma along {inspection.direction} {line}"

    def _line(self, key: str) -> ColumnDataSource:
        if key not in self._lines:
            source = self._lines[key] = ColumnDataSource(dict(x=[], y=[]))
            plain = key in ("hr", "float")
            self.profile.line(
                "x", "y", source=source, name=key, color=_line_color(key), line_width=2 if plain else 1.5,
                line_dash="dashed" if key == "hr" else "solid",
            )  # fmt: skip
        return self._lines[key]


def _line_color(key: str) -> str:
    return ACCENT if key == "hr" else COLORS[key]


def _legend(names: dict[str, str]) -> str:
    """Write the legend of the lines; text takes as many rows as a narrow screen needs."""
    marks = (
        f"<span style='white-space:nowrap'><span style='color:{_line_color(key)}'>"
        f"{'╍' if key == 'hr' else '━'}</span> {escape(name)}</span>"
        for key, name in names.items()
    )
    return f"<div style='font-size:12px'>{' &ensp; '.join(marks)}</div>"


SCALE = (
    "<div style='font-size:13px;margin-bottom:2px'>Below each picture: its difference from the {}, "
    f"mean |RGB| in 8-bit levels</div>{DIFFERENCE_SCALE}"
)


def _row(name: str, found: MethodResult, truth: str) -> dict[str, str]:
    return {
        "": escape(name),
        f"PSNR{against(truth)} / dB": decibel(found.picture.psnr).removesuffix(" dB"),
        f"SSIM{against(truth)}": f"{found.picture.ssim:.4f}",
        "PSNR in the region / dB": decibel(found.psnr).removesuffix(" dB"),
        "SSIM in the region": "–" if found.ssim is None else f"{found.ssim:.4f}",
        "colour shift / levels": f"{found.shift:.2f}",
    }
