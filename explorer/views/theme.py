"""The look that all views share: colours, figures without clutter, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import panel as pn
from bokeh.models import Range1d
from bokeh.palettes import Inferno11
from bokeh.plotting import figure

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
PALETTE = "Viridis256"
DIFFERENCE_TOP = 32  # 8-bit levels at the end of the colour scale, the same for every pair
# Drawn beside the map, not in it, so that its pixels stay square and aligned with the pictures'.
DIFFERENCE_SCALE = f"""<div style="display:flex;align-items:center;gap:6px;font-size:12px"><span>0</span>
<div style="width:140px;height:10px;background:linear-gradient(to right,{",".join(Inferno11)})"></div>
<span>{DIFFERENCE_TOP} or more</span></div>"""
TABLE = """
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: 4px 10px 4px 0; text-align: right; border-bottom: 1px solid rgba(128, 128, 128, 0.3); }
th:first-child, td:first-child { text-align: left; }
div.wide { overflow-x: auto; }
"""


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Write rows, column -> HTML of a cell, as a table that scrolls where the screen is narrow."""
    with pd.option_context("display.max_colwidth", None):
        return f"<div class='wide'>{pd.DataFrame(rows).to_html(index=False, border=0, escape=False)}</div>"


def columns(widths: str, *content) -> pn.Column:
    """Lay content out in columns of the CSS `widths`; in one column on a narrow screen."""
    css = f"""
    :host {{ display: grid; gap: 8px 14px; grid-template-columns: {widths}; }}
    @media (max-width: 800px) {{ :host {{ grid-template-columns: minmax(0, 1fr); }} }}
    """
    return pn.Column(*content, stylesheets=[css], sizing_mode="stretch_width", margin=0)


def plot(title: str, x: str, y: str, height: int, whole: str = "", **options) -> figure:
    """Make a figure of full width with labelled axes and no toolbar; the view sets the ranges.

    whole: the axes, of "xy", that count things and so have ticks at whole numbers only.
    """
    options.setdefault("tools", "")  # a drag scrolls the page
    options.setdefault("x_range", Range1d(0, 1))
    options.setdefault("y_range", Range1d(0, 1))
    fig = figure(
        title=title,
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        x_axis_label=x,
        y_axis_label=y,
        min_border=4,
        **options,
    )
    fig.title.text_font_size = "13px"
    fig.title.text_font_style = "bold"
    for name in whole:
        getattr(fig, f"{name}axis").ticker.min_interval = 1
    for axis in fig.axis:
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = "11px"
    fig.xgrid.grid_line_alpha = fig.ygrid.grid_line_alpha = 0.25
    return fig


def pane(fig: figure) -> pn.Column:
    """Put a figure into a column of its own; in one column, all would get the same space for axes."""
    return pn.Column(pn.pane.Bokeh(fig, sizing_mode="stretch_width", margin=0), sizing_mode="stretch_width")
