"""The look that all views share: colours, figures without clutter, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import panel as pn
from bokeh.models import Range1d
from bokeh.palettes import Inferno11
from bokeh.plotting import figure

from explorer.elements.colors import (  # noqa: F401 (views take all they share from here)
    ACCENT,
    DIFFERENCE_TOP,
    METHOD_COLORS,
    NEUTRAL,
    PALETTE,
    SELECTOR_COLORS,
)

# Drawn beside the map, not in it, so that its pixels stay square and aligned with the pictures'.
DIFFERENCE_SCALE = f"""<div style="display:flex;align-items:center;gap:6px;font-size:12px"><span>0</span>
<div style="width:80px;height:10px;background:linear-gradient(to right,{",".join(Inferno11)})"></div>
<span title='8-bit levels, and above'>{DIFFERENCE_TOP}</span></div>"""
# A browser keeps a style that is left out, so each names all.
SHOWN = {"opacity": "1", "transition": "none"}
DIMMED = {"opacity": "0.35", "transition": "opacity 0.1s 0.3s"}  # what may be old, if that lasts
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
