"""What a network gives out before it is clipped, and the INT8 range over it, as one element."""

from __future__ import annotations

import holoviews as hv
import numpy as np

from explorer.elements.colors import ACCENT, NEUTRAL
from explorer.elements.theme import figure
from explorer.pipeline.deployment import Outputs

LEVELS = 256
SHOWABLE = "#009E73"


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
        **figure("outputs", "Outputs on the representative images", 260),
        logy=True, ylim=(0.5, 2 * float(data.counts.max())),
        xlim=(data.edges[0] - margin, data.edges[-1] + margin),
        xlabel="output of the float network, not clipped", ylabel="values (log)",
    )  # fmt: skip
