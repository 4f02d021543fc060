"""The variants of a file for a phone as elements: their times, and the outputs that decide the INT8 range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import holoviews as hv
import numpy as np

from core.deploy.onnx_files import Step
from explorer.elements.colors import ACCENT, NEUTRAL
from explorer.elements.theme import figure, tip
from explorer.pipeline.deployment import (
    CLIP,
    FLOAT,
    FREE,
    PHONE_CLIPS,
    PHONE_FLOAT,
    PHONE_FREE,
    PHONE_PLAIN,
    PLAIN,
    Outputs,
)

LEVELS = 256
SHOWABLE = "#009E73"
HEIGHT = 260
# By what it is, whichever the engine: float, with its clip (the second form of it paler), without it.
COLORS = {
    FLOAT: NEUTRAL, PHONE_FLOAT: NEUTRAL, CLIP: "#C0392B", FREE: "#2471A3", PLAIN: "#2471A3",
    **dict(zip(PHONE_CLIPS, ("#C0392B", "#E08E79"), strict=True)),
    PHONE_FREE: "#2471A3", PHONE_PLAIN: "#2471A3",
}  # fmt: skip
# How an operator runs -> the colour of its box.
RUNS = {"INT8": "#2471A3", "float": "#6B7280", "conversion": "#B45309"}
# What operators are called in ONNX and LiteRT -> in words; others have their own names.
WORDS = {
    **dict.fromkeys(("Conv", "QLinearConv", "CONV_2D"), "convolution"),
    **dict.fromkeys(("Clip", "RELU_0_TO_1"), "clip"),
    **dict.fromkeys(("DepthToSpace", "DEPTH_TO_SPACE"), "pixel shuffle"),
    **dict.fromkeys(("DequantizeLinear", "DEQUANTIZE"), "to float"),
    **dict.fromkeys(("QuantizeLinear", "QUANTIZE"), "to INT8"),
    **dict.fromkeys(("Add", "ADD"), "addition"),
}


def graph_ends(ends: Mapping[str, Sequence[Step]]) -> hv.Overlay:
    """Draw the last operators of files, from the last convolution to the output, a row each, first on top.

    Blue: on integers; grey: in float; brown: a conversion between the two.
    """
    boxes, words = [], []
    for row, steps in enumerate(list(ends.values())[::-1]):
        for place, (kind, runs) in enumerate(steps):
            boxes.append((place - 0.46, row - 0.34, place + 0.46, row + 0.34, f"{kind}: {runs}", RUNS[runs]))
            words.append((place, row, WORDS.get(kind, kind.lower())))
    kdims = ["left", "bottom", "right", "top"]
    drawn = hv.Rectangles(boxes, kdims, ["what", "color"]).opts(color="color", line_width=0, **tip("@what"))
    labels = hv.Labels(words, ["x", "y"], "word").opts(text_color="white", text_font_size="12px")
    names = list(enumerate(list(ends)[::-1]))
    return hv.Overlay([drawn, labels]).opts(
        **figure("graph ends", "The ends of the files: blue on integers, grey in float, brown conversions",
                 60 + 36 * len(ends), show_grid=False),
        yticks=names, xaxis=None, ylabel="", xlim=(-0.6, max(map(len, ends.values())) - 0.4),
        ylim=(-0.6, len(ends) - 0.4), show_frame=False,
    )  # fmt: skip


def times(found: Mapping[str, float]) -> hv.Bars:
    """Draw the time of each variant, in ms, as a horizontal bar, the first on top."""
    rows = [(name, ms, COLORS[name]) for name, ms in found.items()][::-1]
    return hv.Bars(rows, "variant", ["ms", "color"]).opts(
        **figure("variant times", "Time of one image", 70 + 28 * len(rows)),
        **tip("@variant: @ms{0.0} ms"),
        invert_axes=True, color="color", line_width=0, bar_width=0.7, xlabel="",
        ylabel="ms of one thread", ylim=(0, 1.05 * max(found.values())),
    )  # fmt: skip


def outputs(data: Outputs) -> hv.Overlay:
    """Draw the outputs on the representative images over [0, 1], with the INT8 range and its levels."""
    # An engine's range holds 0; float outputs have no levels.
    low, high = data.range.given or (min(data.range.low, 0.0), max(data.range.high, 0.0))
    levels = np.linspace(low, high, LEVELS if data.range.given is None else 0)
    ticks = (levels, np.full(len(levels), 0.7))
    margin = 0.05 * (data.edges[-1] - data.edges[0])
    parts = [
        hv.VSpan(0, 1).opts(color=SHOWABLE, fill_alpha=0.12, line_width=0),
        hv.Histogram((data.edges, data.counts), kdims="x", vdims="count").opts(
            color=NEUTRAL, fill_alpha=0.6, line_width=0, logy=True
        ),
        hv.Points(ticks, ["x", "y"]).opts(marker="dash", angle=90, size=9, color=ACCENT, alpha=0.5),
        hv.VLines([low, high]).opts(color=ACCENT, line_width=2),
    ]
    return hv.Overlay(parts).opts(
        **figure("outputs", "Outputs on the representative images", HEIGHT),
        logy=True, ylim=(0.5, 2 * float(data.counts.max())),
        xlim=(data.edges[0] - margin, data.edges[-1] + margin),
        xlabel="output of the float network, not clipped", ylabel="values (log)",
    )  # fmt: skip
