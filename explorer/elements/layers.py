"""Which layers hurt, as elements: the picture's error by layer, quantized alone and left float."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import holoviews as hv
import numpy as np

from core.analysis.sensitivity import Sensitivity
from explorer.elements.colors import NEUTRAL
from explorer.elements.theme import figure, tip

HEIGHT = 290
UNIT = "error / 8-bit levels"
PARTS = {"weights": ("#0072B2", -0.28), "activations": ("#E69F00", 0.0), "only": (NEUTRAL, 0.28)}
NAMES = {"weights": "its weights", "activations": "its activations", "only": "both"}
WHOLE = "#117733"
PALE = 0.25  # opacity of the layers kept float
NAMED = 20  # layers at most whose names fit below the axis


def alone(found: dict[str, Sensitivity], kept: Collection[str] = ()) -> hv.Overlay:
    """Draw the error with each layer alone quantized: its weights, its activations, and both.

    kept: the layers kept float, which are drawn pale.
    """
    values = {part: {layer: getattr(row, part) for layer, row in found.items()} for part in PARTS}
    bars = [
        _bars(values[part], kept, part, shift, 0.26, f"{{0.000}} levels, {NAMES[part]}", color)
        for part, (color, shift) in PARTS.items()
    ]
    every = [value for part in values.values() for value in part.values()]
    return _finish("layers alone", "Error if it alone is quantized", "quantized layer", found, bars, every)


def saved(total: float, found: dict[str, Sensitivity], kept: Collection[str] = ()) -> hv.Overlay:
    """Draw how much smaller the error is with each layer left float and all others quantized.

    total: the error with all quantized.
    """
    gains = {layer: total - row.all_but for layer, row in found.items()}
    bars = [_bars(gains, kept, "saved", 0.0, 0.7, "{0.000} levels less error if it alone stays float", WHOLE)]
    title = f"Error saved if it stays float, of {total:.2f}"
    return _finish("layers saved", title, "layer left float", found, bars, gains.values())


def _bars(
    values: Mapping[str, float], kept: Collection[str], part: str, shift: float, width: float, text: str,
    color: str,
) -> hv.Rectangles:  # fmt: skip
    center = np.arange(1, len(values) + 1) + shift
    alpha = [PALE if layer in kept else 1.0 for layer in values]
    data = (center - width / 2, 0 * center, center + width / 2, list(values.values()), list(values), alpha)
    bars = hv.Rectangles(data, ["left", "bottom", "right", part], ["layer", "alpha"])
    return bars.opts(color=color, line_width=0, fill_alpha=hv.dim("alpha"), **tip(f"@layer: @{part}{text}"))


def _finish(name: str, title: str, x: str, found, parts, values: Iterable[float]) -> hv.Overlay:
    """Lay the parts over each other, with the layers' names below the axis where they fit."""
    whole, options = "x", {"xlabel": x}
    if len(found) <= NAMED:
        ticks = [(rank, layer) for rank, layer in enumerate(found, 1)]
        whole, options = "", {"xlabel": "", "xticks": ticks, "xrotation": 60}
    low, high = min(0.0, *values), max(1e-9, *values)
    return hv.Overlay(parts).opts(
        **figure(name, title, HEIGHT, whole=whole, **options),
        xlim=(0.4, len(found) + 0.6), ylim=(1.08 * low, 1.08 * high), ylabel=UNIT, show_legend=False,
    )  # fmt: skip
