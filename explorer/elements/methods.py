"""Pictures by several methods compared along a line of pixels, as one element."""

from __future__ import annotations

from collections.abc import Mapping

import holoviews as hv
import numpy as np

from explorer.elements.colors import ACCENT, METHOD_COLORS, NEUTRAL
from explorer.elements.theme import figure, room, tip
from explorer.pipeline.method_comparison import Inspection, MethodResult


def profile(found: Mapping[str, MethodResult], names: Mapping[str, str], look: Inspection) -> hv.Overlay:
    """Draw the luma of each picture along the line of `look`; names: of the keys.

    The reference, which comes first, is dashed, the others have the colours of their methods.
    """
    first, *others = found
    line, start, end = look.line(*found[first].picture.rgb.shape[:2])
    pixels = np.arange(start, end)
    paths = [
        {"x": pixels, "y": found[key].profile, "name": names[key], "color": METHOD_COLORS.get(key, NEUTRAL)}
        for key in others
    ]
    lines = hv.Contours(paths, ["x", "y"], ["name", "color"])
    reference = hv.Curve((pixels, found[first].profile), "x", "y")
    values = np.concatenate([shown.profile for shown in found.values()])
    return hv.Overlay(
        [
            lines.opts(color=hv.dim("color"), line_width=1.5, **tip("@name")),
            reference.opts(color=ACCENT, line_width=2, line_dash="dashed"),
        ]
    ).opts(
        **figure("profile", f"Luma along {look.direction} {line}", 230),
        xlim=(start, end - 1), ylim=room(values.min(), max(values.max(), values.min() + 4)),
        xlabel=f"pixel (dashed: {names[first]})", ylabel="luma / 8-bit levels",
    )  # fmt: skip
