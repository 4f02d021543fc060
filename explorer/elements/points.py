"""The quantization points of one channel as elements: `histogram(p) * levels(p) + staircase(p)`."""

from __future__ import annotations

import holoviews as hv
import numpy as np

from explorer.elements.colors import METHOD_COLORS, NEUTRAL, SELECTOR_COLORS
from explorer.elements.theme import figure, tip
from explorer.pipeline.points import Points

LOWEST = 0.5  # of the logarithmic axis: half a value


def histogram(data: Points) -> hv.Histogram:
    """Draw how often each value occurs in the channel, on a logarithmic axis."""
    title = f"Channel {data.channel}: histogram and the {len(data.levels)} points, {data.used} of them used"
    bins = hv.Histogram((data.edges, data.counts), kdims=("x", data.unit), vdims="count")
    return bins.opts(
        **figure("histogram", title, 230),
        color=NEUTRAL, fill_alpha=0.6, line_width=0, logy=True,
        xlim=_ends(data), ylim=(LOWEST, _top(data)), ylabel="activations (log)",
    )  # fmt: skip


def levels(data: Points) -> hv.Overlay:
    """Draw the points: a line from the axis, with a head."""
    height = np.full(len(data.levels), _top(data) / 1.5)
    lines = hv.Segments((data.levels, LOWEST, data.levels, height), ["x", "foot", "x_end", "height"])
    heads = hv.Points((data.levels, height), ["x", "height"])
    color = METHOD_COLORS[data.method]
    return lines.opts(color=color, line_width=1.5) * heads.opts(
        color=color, size=6, **tip("point @x{0.[0000]}")
    )


def candidates(data: Points) -> hv.Points:
    """Draw the values of the universal set as ticks on the axis; none for uniform levels."""
    place = (data.candidates, np.full(len(data.candidates), 0.7))
    return hv.Points(place, ["x", "y"]).opts(marker="dash", angle=90, size=9, color=NEUTRAL)


def staircase(data: Points) -> hv.Curve:
    """Draw x → Q(x): every value goes to the nearest level."""
    steps = np.unique(data.levels)
    start, end = min(data.edges[0], steps[0]), max(data.edges[-1], steps[-1])
    x, y = np.concatenate([[start], steps, [end]]), np.concatenate([steps[:1], steps, steps[-1:]])
    return hv.Curve((x, y), ("x", data.unit), ("q", "Q(x)")).opts(
        **figure("staircase", f"Staircase x → Q(x): signal to noise {data.sqnr:.1f} dB", 230),
        interpolation="steps-mid", color=METHOD_COLORS[data.method], line_width=2,
        xlim=_ends(data), ylim=_ends(data),
    )  # fmt: skip


def errors(data: Points) -> hv.Bars:
    """Draw the squared error of every selector relative to the exact choice, of the channel and the layer."""
    rows = []
    for index, scope in ((0, "channel"), (1, "layer")):
        best = data.selectors["exact"][index] if data.selectors else 0
        for name, values in data.selectors.items():
            ratio = values[index] / best if best else 1.0
            rows.append((f"{name}, {scope}", ratio, values[index], SELECTOR_COLORS[name]))
    values = [("ratio", "squared error, exact = 1"), "error", "color"]
    return hv.Bars(rows[::-1], "bar", values).opts(
        **figure("errors", "Selectors compared", 230),
        invert_axes=True, color="color", line_width=0, xlabel="",
        ylim=(0, 1.1 * max((row[1] for row in rows), default=1.0)),
    )  # fmt: skip


def _ends(data: Points) -> tuple[float, float]:
    return float(data.edges[0]), float(data.edges[-1])


def _top(data: Points) -> float:
    return max(10.0, float(data.counts.max()) * 2)
