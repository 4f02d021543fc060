"""The record of a training: curves over steps, a layer's input, and the picture before and after."""

from __future__ import annotations

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, Legend, Range1d, Span

from explorer.elements.training import CURVES, Progress
from explorer.pipeline.pictures import Picture
from explorer.views.canvas import Window, grid
from explorer.views.theme import ACCENT, NEUTRAL, columns, pane, plot
from explorer.views.tile import Tile

HEIGHT = 200
LINE = "#0072B2"
BEFORE, NOW, AFTER = "#8A9199", "#E3342F", "#0072B2"
TILES = ("Float", "Before training", "After training", "Without training: dfsq+")


class TrainingView:
    """Curves, histogram and pictures of a training, in `panel`."""

    def __init__(self):
        self._sources, self._lines, self._now, figures = {}, {}, [], []
        self._drawn: tuple[dict, int] | None = None  # record and layer of the curves
        for curve in CURVES:
            fig = plot(curve.title, "step", curve.label, HEIGHT, name=f"curve {curve.field}")
            self._sources[curve.field] = ColumnDataSource(dict(step=[], value=[]))
            if curve.by_layer:
                self._lines[curve.field] = ColumnDataSource(dict(xs=[], ys=[]))
                fig.multi_line("xs", "ys", source=self._lines[curve.field], color=NEUTRAL, alpha=0.35)
            fig.line("step", "value", source=self._sources[curve.field], color=LINE, line_width=2)
            if not curve.by_layer:
                fig.scatter("step", "value", source=self._sources[curve.field], color=LINE, size=5)
            now = Span(dimension="height", line_color=ACCENT, line_alpha=0.5, line_width=2, location=-9)
            fig.add_layout(now)
            self._now.append(now)
            figures.append(fig)
        self.curves = figures
        self.histogram = self._histogram()
        self.window = Window()
        self.tiles = {name: Tile(f"trained {name}", self.window) for name in TILES}
        for name, tile in self.tiles.items():
            tile.label(name, False)
        self.summary = pn.pane.HTML("", sizing_mode="stretch_width", margin=(4, 8))
        tiles = grid(*(tile.panel for tile in self.tiles.values()), margin=(12, 0, 0, 0))
        self.panel = pn.Column(
            self.summary,
            columns("minmax(0, 1fr) minmax(0, 1fr)", *map(pane, self.curves)),
            pane(self.histogram),
            tiles,
            sizing_mode="stretch_width",
            margin=0,
        )

    def _histogram(self):
        fig = plot(
            "", "activation (dashed: the learned range)", "share of the values", 260, name="layer in training"
        )
        fig.y_range = Range1d(0, 1)
        self._shapes, items = {}, []
        for name, color in (("float network", BEFORE), ("at this step", NOW), ("at the end", AFTER)):
            source = self._shapes[name] = ColumnDataSource(dict(x=[], top=[]))
            if name == "float network":
                drawn = fig.varea("x", 0, "top", source=source, color=color, alpha=0.35)
            else:
                drawn = fig.line("x", "top", source=source, color=color, line_width=2)
            items.append((name, [drawn]))
        self._ends = [Span(dimension="height", line_color=NOW, line_dash="dashed") for _ in range(2)]
        for line in self._ends:
            fig.add_layout(line)
        legend = Legend(items=items, label_text_font_size="11px", padding=2, location="top_right")
        legend.background_fill_alpha = legend.border_line_alpha = 0
        fig.add_layout(legend)
        return fig

    def show(self, card: dict, layer: str, share: float) -> None:
        """Draw the record of a card: `share` of its steps is the moment, `layer` the one that stands out."""
        record, moment = card["record"], share * card["steps"]
        self.curves[1].yaxis.axis_label = "deviation" if card["version"] == "v1" else "‖x − q(x)‖₂"
        index = record["layers"].index(layer) if layer in record["layers"] else 0
        if self._drawn != (record, index):
            self._drawn = (record, index)
            for curve, fig in zip(CURVES, self.curves, strict=True):
                self._draw_curve(curve, fig, record, index)
                fig.x_range.update(start=0, end=card["steps"])
        for now in self._now:
            now.location = moment
        self._draw_histogram(record, record["layers"][index], index, moment)
        self.summary.object = _summary(card, moment)

    def _draw_curve(self, curve: Progress, fig, record: dict, index: int) -> None:
        if not curve.by_layer:
            steps, values = record["psnr"]["step"], record["psnr"]["psnr_y"]
            spread = values
        else:
            steps = record["step"]
            by_layer = np.array(record[curve.field], float).reshape(-1, len(record["layers"])).T
            self._lines[curve.field].data = dict(xs=[steps] * len(by_layer), ys=list(by_layer))
            values, spread = by_layer[index], by_layer
        self._sources[curve.field].data = dict(step=steps, value=values)
        if np.size(spread):
            low, high = float(np.nanmin(spread)), float(np.nanmax(spread))
            margin = 0.06 * max(high - low, 1e-3)
            fig.y_range.update(start=low - margin, end=high + margin)

    def _draw_histogram(self, record: dict, layer: str, index: int, moment: float) -> None:
        self.histogram.title.text = f"Input of {layer}"
        low, high = record["spans"][layer]
        counts = {shot["step"]: np.array(shot["histograms"][layer]) for shot in record["snapshots"]}
        steps = [step for step in counts if step is not None]
        if not steps:
            return
        near = min(steps, key=lambda step: abs(step - moment))
        top = 0.0
        for name, step in (("float network", None), ("at this step", near), ("at the end", steps[-1])):
            edges = np.linspace(low, high, len(counts[step]) + 1)
            share = counts[step] / counts[step].sum()
            self._shapes[name].data = dict(x=(edges[1:] + edges[:-1]) / 2, top=share)
            top = max(top, float(np.partition(share, -2)[-2]))  # zeros after a ReLU tower above the rest
        self.histogram.x_range.update(start=low, end=high)
        self.histogram.y_range.end = 1.1 * top
        at = int(np.argmin(np.abs(np.array(record["step"]) - moment)))
        for line, end in zip(self._ends, ("low", "high"), strict=True):
            line.location = record[end][at][index]

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
        self.summary.object = _small(sentence)
        for source in (*self._sources.values(), *self._lines.values(), *self._shapes.values()):
            source.data = {name: [] for name in source.data}
        for line in (*self._now, *self._ends):
            line.location = -1e9
        self.histogram.title.text = "Input of the layer"
        for tile in self.tiles.values():
            tile.say("")


def _summary(card: dict, moment: float) -> str:
    psnr = card["record"]["psnr"]
    at = ""
    if psnr["step"]:
        near = int(np.argmin(np.abs(np.array(psnr["step"]) - moment)))
        value = f"<b>{psnr['psnr_y'][near]:.2f} dB</b> on {card['validation']}"
        at = f" PSNR at step {psnr['step'][near]:,}: {value}."
    return _small(f"<b>{card['label']}</b>, trained on {card['images']} images of {card['data']}.{at}")


def _small(text: str) -> str:
    return f"<div style='font-size:13px'>{text}</div>"
