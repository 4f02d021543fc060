"""Colours: of a method or selector the same in every figure, on every tab and in the notebooks."""

from __future__ import annotations

from bokeh.palettes import Inferno256, Viridis256

# Okabe and Ito's palette: distinguishable with colour-blind eyes, readable on light and dark.
METHOD_COLORS = {
    "dfsq": "#0072B2",
    "dfsq-exact": "#4FA3D9",
    "dfsq+": "#7B68EE",
    "dfsq+block": "#4B3BAF",
    "uniform+": "#C9A227",
    "uniform+block": "#8C6D1F",
    "minmax": "#D55E00",
    "percentile": "#E69F00",
    "mse": "#B5477F",
    "mse-channel": "#D98CB3",
    "mse+": "#7A1F52",
    "2dquant": "#117733",
    "log2": "#999933",
    "apot": "#44AA99",
    "piecewise": "#5D8AA8",
    "daq": "#A0522D",
    "mx": "#3E7C7B",
    "nvfp4": "#6B8E23",
    "odm": "#C2185B",
    "odm-v1": "#F06292",
    "pams": "#607D8B",
}
SELECTOR_COLORS = {"exact": "#009E73", "kmeans": "#CC79A7", "greedy": "#56B4E9", "by hand": "#E3342F"}
NEUTRAL = "#8A9199"
ACCENT = "#E3342F"
PALETTE = list(Viridis256)
DIFFERENCE_PALETTE = list(Inferno256)
DIFFERENCE_TOP = 32  # 8-bit levels at the end of the colour scale, the same for every pair
