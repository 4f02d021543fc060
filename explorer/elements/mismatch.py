"""Mismatch of the quantized layers' inputs as elements: why one range does not fit all."""

from __future__ import annotations

import holoviews as hv
import numpy as np

from core.analysis.mismatch import Mismatch
from explorer.elements.colors import ACCENT, NEUTRAL
from explorer.elements.theme import LEGEND, figure, tip

HEIGHT = 230
ACROSS = {"channels": ("#5B6C8F", "circle"), "images": ("#B8860B", "triangle")}  # colour, marker


def mismatch(found: dict[str, Mismatch], kind: str, layer: str) -> hv.Overlay:
    """Draw the mismatch of every layer across channels and across images, and mark one layer.

    kind: "mean" or "deviation". At 0 all channels (images) are alike, and one range fits all.
    """
    parts = [hv.VLine(list(found).index(layer) + 1).opts(color=ACCENT, alpha=0.3, line_width=6)]
    top = 1e-9
    for across, (color, marker) in ACROSS.items():
        values = [getattr(row, f"{kind}_{across}") for row in found.values()]
        parts += _line(found, values, f"{kind}_{across}", f"across {across}", color, marker)
        top = max(top, *values)
    return hv.Overlay(parts).opts(
        **figure(f"mismatch of {kind}s", f"Channel {kind}s", HEIGHT, whole="x"),
        xlim=(0.5, len(found) + 0.5), ylim=(0, 1.1 * top),
        xlabel="quantized layer", ylabel="spread / deviation",
        legend_position="top", legend_opts=LEGEND | {"location": "top_left"},
    )  # fmt: skip


def strip(found: dict[str, Mismatch], layer: str) -> hv.Rectangles:
    """Draw by how much the channels of each layer's input differ as small bars, the chosen layer's in red."""
    names, values = list(found), [row.deviation_channels for row in found.values()]
    rank = np.arange(1, len(names) + 1)
    color = np.where(np.array(names) == layer, ACCENT, NEUTRAL)
    data = (rank - 0.42, 0 * rank, rank + 0.42, values, names, color)
    bars = hv.Rectangles(data, ["left", "bottom", "right", "value"], ["layer", "color"])
    return bars.opts(
        **figure("strip", "", 34, show_grid=False),
        **tip("@layer: its channels differ by @value{0.00} deviations. Tap to see it"),
        color="color", line_width=0, xaxis=None, yaxis=None, show_frame=False,
        xlim=(0.4, len(names) + 0.6), ylim=(0, 1.02 * max(*values, 1e-9)),
    )  # fmt: skip


def _line(found, values, field: str, label: str, color: str, marker: str) -> list[hv.Element]:
    rank = range(1, len(found) + 1)
    curve = hv.Curve((rank, values), "rank", field, label=label).opts(color=color, line_width=1.5)
    dots = hv.Scatter((rank, values, list(found)), "rank", [field, "layer"], label=label)
    text = f"@layer: @{field}{{0.000}} {label}"
    return [curve, dots.opts(color=color, marker=marker, size=7, **tip(text))]
