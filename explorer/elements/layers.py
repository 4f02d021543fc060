"""Which layers hurt, as elements: the picture's error by layer, quantized alone and left float."""

from __future__ import annotations

import holoviews as hv
import numpy as np

from core.analysis.sensitivity import Sensitivity
from explorer.elements.colors import ACCENT, NEUTRAL
from explorer.elements.theme import LEGEND, figure, tip

HEIGHT = 300
UNIT = "error of the picture / 8-bit levels"
PARTS = {"weights": ("#0072B2", -0.28), "activations": ("#E69F00", 0.0), "only": (NEUTRAL, 0.28)}
NAMES = {"weights": "its weights", "activations": "its activations", "only": "both"}
WHOLE = "#117733"


def alone(found: dict[str, Sensitivity], layer: str) -> hv.Overlay:
    """Draw the error with each layer alone quantized: its weights, its activations, and both."""
    bars = [
        _bars(found, part, shift, 0.26, f"{{0.000}} levels, {NAMES[part]}", color, NAMES[part])
        for part, (color, shift) in PARTS.items()
    ]
    top = max(max(getattr(row, part) for part in PARTS) for row in found.values())
    return _finish("layers alone", "This layer alone quantized", "quantized layer", found, layer, bars, top)


def all_but(total: float, found: dict[str, Sensitivity], layer: str) -> hv.Overlay:
    """Draw the error with each layer left float and all others quantized; total: that of all quantized."""
    bars = [
        _bars(found, "all_but", 0.0, 0.7, "{0.000} levels without it", WHOLE, ""),
        hv.HLine(total).opts(color=ACCENT, line_dash="dashed", line_width=2),
    ]
    top = max(total, *(row.all_but for row in found.values()))
    title = f"All but this layer (dashed: all, {total:.2f} levels)"
    return _finish("layers all but", title, "layer left float", found, layer, bars, top)


def _bars(found, part: str, shift: float, width: float, text: str, color: str, label: str) -> hv.Rectangles:
    center = np.arange(1, len(found) + 1) + shift
    values = [getattr(row, part) for row in found.values()]
    data = (center - width / 2, 0 * center, center + width / 2, values, list(found))
    bars = hv.Rectangles(data, ["left", "bottom", "right", part], "layer", label=label)
    return bars.opts(color=color, line_width=0, **tip(f"@layer: @{part}{text}"), show_legend=bool(label))


def _finish(name: str, title: str, x: str, found, layer: str, parts, top: float) -> hv.Overlay:
    here = list(found).index(layer) + 1 if layer in found else -9
    mark = hv.VLine(here).opts(color=ACCENT, alpha=0.25, line_width=14)
    return hv.Overlay([mark, *parts]).opts(
        **figure(name, title, HEIGHT, whole="x"),
        xlim=(0.4, len(found) + 0.6), ylim=(0, 1.08 * max(top, 1e-9)), xlabel=x, ylabel=UNIT,
        legend_position="top", legend_opts=LEGEND | {"location": "top_left"},
    )  # fmt: skip
