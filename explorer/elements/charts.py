"""Lines and bars by name, in the colour of the method or selector that the name is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import holoviews as hv

from explorer.elements.colors import METHOD_COLORS, SELECTOR_COLORS
from explorer.elements.theme import LEGEND, figure

# Okabe and Ito's palette, but for black and yellow: for what has no colour of its own.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def lines(
    curves: Mapping[str, tuple[Sequence, Sequence]],
    title: str,
    x: str,
    y: str,
    *,
    height: int = 280,
    whole: str = "",
    **options,
) -> hv.Overlay:
    """Draw dotted lines by name, each (x values, y values); x and y label the axes, with units.

    whole: the axes, of "xy", with ticks at whole numbers only; options: as HoloViews takes them.
    """
    parts = []
    for (name, values), color in zip(curves.items(), colors(curves), strict=True):
        parts.append(hv.Curve(values, "x", "y", label=name).opts(color=color, line_width=2))
        parts.append(hv.Scatter(values, "x", "y", label=name).opts(color=color, size=6))
    legend = dict(
        show_legend=len(curves) > 1, legend_position="right", legend_opts=LEGEND | {"location": "top"}
    )
    options = legend | dict(xlabel=x, ylabel=y, padding=0.05) | options
    return hv.Overlay(parts).opts(**figure(title, title, height, whole=whole, **options))


def bars(values: Mapping[str, float], title: str, x: str) -> hv.Bars:
    """Draw horizontal bars by name, the first on top; x labels their axis, with its unit."""
    rows = [(name, value, color) for (name, value), color in zip(values.items(), colors(values), strict=True)]
    return hv.Bars(rows[::-1], "name", [("value", x), "color"]).opts(
        **figure(title, title, 60 + 26 * len(rows)),
        invert_axes=True, color="color", line_width=0, bar_width=0.7, xlabel="",
        ylim=(min(0, *values.values()), 1.05 * max(values.values())),
    )  # fmt: skip


def colors(names: Sequence[str]) -> list[str]:
    """Return the colour of each method or selector, or the next of the palette."""
    own = METHOD_COLORS | SELECTOR_COLORS
    spare = (c for c in COLORS * len(names) if c not in {own.get(name) for name in names})
    return [own[name] if name in own else next(spare) for name in names]
