"""Pictures as elements; pictures of one layout zoom together, since they share their dimensions."""

from __future__ import annotations

import holoviews as hv
import numpy as np

from explorer.elements.colors import DIFFERENCE_PALETTE, DIFFERENCE_TOP
from explorer.elements.theme import COLOR_BAR, named
from explorer.pipeline.pictures import Picture

AXES = ["column", "row"]  # in pixels, from the bottom left
BARE = {"xaxis": None, "yaxis": None, "toolbar": None, "active_tools": ["wheel_zoom"], "data_aspect": 1}
TOOLS = ["pan", "wheel_zoom", "reset"]


def picture(shown: Picture, title: str, side: int) -> hv.RGB:
    """Draw a picture with square pixels, its longer side `side` screen pixels long."""
    height, width = shown.rgb.shape[:2]
    drawn = hv.RGB(shown.rgb, AXES, bounds=(0, 0, width, height))
    return drawn.opts(**_frame(f"picture {title}", title, height, width, side))


def difference(error: np.ndarray, title: str, side: int) -> hv.Image:
    """Draw an error map (H, W) in 8-bit levels, on a scale that is the same for all."""
    height, width = error.shape
    drawn = hv.Image(error, AXES, ("error", "mean |RGB| / 8-bit levels"), bounds=(0, 0, width, height))
    return drawn.opts(
        **_frame(f"error {title}", title, height, width, side),
        cmap=DIFFERENCE_PALETTE, clim=(0, DIFFERENCE_TOP), colorbar=True, colorbar_opts=COLOR_BAR,
    )  # fmt: skip


def _frame(name: str, title: str, height: int, width: int, side: int) -> dict:
    scale = side / max(height, width)
    return BARE | {
        "title": title,
        "fontsize": {"title": "12px"},
        "frame_width": round(scale * width),
        "frame_height": round(scale * height),
        "default_tools": TOOLS,
        "hooks": [named(name)],
    }
