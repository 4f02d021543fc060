"""Which layers hurt, as elements: the picture's error by layer, quantized alone and left float."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import holoviews as hv
import numpy as np

from core.analysis.sensitivity import Sensitivity
from explorer.choices.layer_bits import Bits
from explorer.choices.state import BITS
from explorer.elements.colors import METHOD_COLORS, NEUTRAL
from explorer.elements.theme import LEGEND, figure, room, tip
from explorer.pipeline.layer_costs import LayerCost

HEIGHT = 290
UNIT = "error / 8-bit levels"
PARTS = {"weights": ("#0072B2", -0.28), "activations": ("#E69F00", 0.0), "only": (NEUTRAL, 0.28)}
NAMES = {"weights": "its weights", "activations": "its activations", "only": "both"}
WHOLE = "#117733"
FLOAT = "#882255"
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


def slower(found: Mapping[str, LayerCost], kept: Collection[str] = ()) -> hv.Overlay:
    """Draw how many milliseconds more a picture takes with a layer left float, of an INT8 file."""
    more = {layer: cost.more_ms for layer, cost in found.items()}
    return _costs("slower", "Time", "{+0.00} ms", more, kept).opts(ylabel="time / ms")


def larger(found: Mapping[str, LayerCost], kept: Collection[str] = ()) -> hv.Overlay:
    """Draw how many KiB an INT8 file grows with a layer left float."""
    more = {layer: cost.more_kib for layer, cost in found.items()}
    return _costs("larger", "Size", "{+0.0} KiB", more, kept).opts(ylabel="weights / KiB")


def _costs(part: str, what: str, text: str, more: Mapping[str, float], kept: Collection[str]) -> hv.Overlay:
    bars = [_bars(more, kept, part, 0.0, 0.7, f"{text} if it stays float", FLOAT)]
    title = f"{what} more if it stays float"
    return _finish(f"layers {part}", title, "layer left float", more, bars, more.values())


def bits(found: Mapping[str, Bits], same: Bits) -> hv.Overlay:
    """Draw the bits of each layer's weights and activations; dashed: `same`, those of the sliders."""
    bars = []
    for side, (part, shift) in enumerate({"weights": -0.2, "activations": 0.2}.items()):
        values = {layer: own[side] for layer, own in found.items()}
        bars.append(_bars(values, (), part, shift, 0.38, f" bits of {NAMES[part]}", PARTS[part][0]))
    lines = [
        hv.HLines([bits], "bits").opts(color=PARTS[part][0], line_dash="dashed", line_width=1)
        for part, bits in zip(("weights", "activations"), same, strict=True)
    ]
    title = "Bits by layer (dashed: the sliders')"
    whole = _finish("layers bits", title, "quantized layer", found, [*bars, *lines], [BITS[-1]])
    ticks = [(bits, str(bits)) for bits in (0, *BITS)]
    return whole.opts(ylabel="bits", ylim=(0, BITS[-1] + 0.8), yticks=ticks)


def budgets(
    allocated: Sequence[tuple[float, float, str]], uniform: Sequence[tuple[float, float, str]], method: str
) -> hv.Overlay:
    """Draw PSNR over the budget: of bits by layer and of the same bits for all.

    Each a sequence of (percent of the sliders' cost, PSNR, name), ascending.
    """
    parts, color = [], METHOD_COLORS[method]
    looks = {
        "bits by layer": (allocated, dict(color=color), "circle"),
        "the same bits for all": (uniform, dict(color=NEUTRAL), "square"),
    }
    for label, (points, look, marker) in looks.items():
        points = sorted(points)
        curve = hv.Curve([point[:2] for point in points], "budget", "psnr", label=label)
        dots = hv.Scatter(points, "budget", ["psnr", "name"], label=label)
        parts.append(curve.opts(line_width=2, **look))
        parts.append(dots.opts(size=8, marker=marker, **look, **tip("@name: @psnr{0.00} dB")))
    every = [*allocated, *uniform]
    wide, high = ([point[i] for point in every] or [0, 1] for i in (0, 1))
    return hv.Overlay(parts).opts(
        **figure("layers budgets", "PSNR over budget", HEIGHT),
        xlim=room(min(wide), max(wide)), ylim=room(min(high), max(high), 0.1),
        xlabel="cost / % of the sliders' bits for all", ylabel="PSNR / dB",
        legend_position="bottom_right", legend_opts=LEGEND,
    )  # fmt: skip


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
    step = max(1, round(len(found) / 8))
    ticks, options = [(rank, str(rank)) for rank in range(step, len(found) + 1, step)], {"xlabel": x}
    if len(found) <= NAMED:
        ticks, options = list(enumerate(found, 1)), {"xlabel": "", "xrotation": 60}
    low, high = min(0.0, *values), max(1e-9, *values)
    return hv.Overlay(parts).opts(
        **figure(name, title, HEIGHT, xticks=ticks, **({"xrotation": 0} | options)),
        xlim=(0.4, len(found) + 0.6), ylim=(1.08 * low, 1.08 * high), ylabel=UNIT, show_legend=False,
    )  # fmt: skip
