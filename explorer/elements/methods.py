"""Pictures by several methods compared along a line of pixels, as one element."""

from __future__ import annotations

from collections.abc import Mapping

import holoviews as hv
import numpy as np

from explorer.elements.colors import ACCENT, METHOD_COLORS, NEUTRAL
from explorer.elements.theme import LEGEND, figure, room
from explorer.pipeline.method_comparison import Inspection, MethodResult


def profile(found: Mapping[str, MethodResult], names: Mapping[str, str], look: Inspection) -> hv.Overlay:
    """Draw the luma of each picture along the line of `look`; names: of the keys, for the legend."""
    line, start, end = look.line(*next(iter(found.values())).picture.rgb.shape[:2])
    pixels = np.arange(start, end)
    curves = [
        hv.Curve((pixels, shown.profile), "x", "y", label=names[key]).opts(**_style(key))
        for key, shown in found.items()
    ]
    values = np.concatenate([shown.profile for shown in found.values()])
    return hv.Overlay(curves).opts(
        **figure("profile", f"Luma along {look.direction} {line}", 300),
        xlim=(start, end - 1), ylim=room(values.min(), max(values.max(), values.min() + 4)),
        xlabel="pixel", ylabel="luma / 8-bit levels",
        legend_position="right", legend_opts=LEGEND | {"location": "top"},
    )  # fmt: skip


def _style(key: str) -> dict:
    """Draw the ground truth dashed and methods in their colours."""
    if key == "hr":
        return dict(color=ACCENT, line_width=2, line_dash="dashed")
    return dict(color=METHOD_COLORS.get(key, NEUTRAL), line_width=2 if key == "float" else 1.5)
