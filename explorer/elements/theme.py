"""What all figures share: sizes, fonts, axes, and the name under which a test or a script finds one."""

from __future__ import annotations

from collections.abc import Callable

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend
from bokeh.document import Document

hv.Store.set_current_backend("bokeh")

FONTS = {"title": "13px", "labels": "12px", "ticks": "11px", "legend": "12px", "cticks": "11px"}
GRID = {"grid_line_alpha": 0.25}
COLOR_BAR = {"width": 8, "padding": 2, "background_fill_alpha": 0, "border_line_color": None}
LEGEND = {"background_fill_alpha": 0, "border_line_color": None, "padding": 4, "spacing": 0}

Hook = Callable[[object, hv.Element], None]


def figure(name: str, title: str, height: int, *, whole: str = "", **options) -> dict:
    """Return the options of a figure of full width without tools, so that a drag scrolls the page.

    name: by which `document.get_model_by_name` finds it. height in pixels. whole: the axes, of "xy", that
    count things and so have ticks at whole numbers only. options: more of them, as HoloViews takes them.
    """
    shared = {
        "title": title,
        "height": height,
        "responsive": True,
        "toolbar": None,
        "default_tools": [],
        "framewise": True,  # the axes follow when a DynamicMap draws anew
        # Else figures whose axes have the same name show the same range.
        "axiswise": True,
        "shared_axes": False,
        "fontsize": FONTS,
        "show_grid": True,
        "gridstyle": GRID,
        "hooks": [named(name), plain, whole_ticks(whole)],
    }
    return shared | options


def bokeh_plot(element: hv.Element | hv.Overlay | hv.HoloMap):
    """Return what HoloViews draws of an element (its `state` is Bokeh's figure), in a document of its own.

    `hv.render` takes the document that the server is at work on at that moment, and sets its theme: from a
    thread, that is somebody's page.
    """
    return hv.renderer("bokeh").instance(mode="server").get_plot(element, Document())


def named(name: str) -> Hook:
    """Return the hook that gives a figure its name."""

    def hook(plot, element) -> None:
        plot.state.name = name

    return hook


def named_part(name: str) -> Hook:
    """Return the hook that gives what one element of an overlay draws a name, for changes in place."""

    def hook(plot, element) -> None:
        plot.handles["glyph_renderer"].name = name

    return hook


def plain(plot, element) -> None:
    """Upright labels, no border, and no WebGL, in which browsers without a graphics card lose bars."""
    plot.state.update(min_border=4, output_backend="canvas")
    plot.state.min_border_right = 14  # for half of the last tick's label
    for axis in plot.state.axis:
        axis.axis_label_text_font_style = "normal"


def whole_ticks(axes: str) -> Hook:
    """Return the hook that keeps ticks of the `axes`, of "xy", at whole numbers."""

    def hook(plot, element) -> None:
        for name in axes:
            for axis in getattr(plot.state, f"{name}axis"):
                axis.ticker.min_interval = 1

    return hook


def tip(text: str) -> dict:
    """Return the options that show `text` beside what the pointer is on; @column is that column's value."""
    return {"tools": ["hover"], "hover_tooltips": text}


def room(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    """Return a range around [low, high] with a margin of that share on both sides, never empty."""
    margin = share * max(high - low, 1e-9)
    return float(low - margin), float(high + margin)
