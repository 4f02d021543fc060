"""What Bokeh draws of an element: its figures, their columns and labels."""

import holoviews as hv
from bokeh.models import GlyphRenderer, Plot


def figures(element) -> dict[str, Plot]:
    """What Bokeh draws, by name."""
    drawn = hv.renderer("bokeh").get_plot(element).state
    found = [drawn] if isinstance(drawn, Plot) else list(drawn.select({"type": Plot}))
    return {figure.name: figure for figure in found}


def figure(element) -> Plot:
    (found,) = figures(element).values()
    return found


def columns(figure) -> dict[str, list]:
    """Name of a column -> the values of each source of the figure that has it, in the order of drawing."""
    found = {}
    for renderer in (r for r in figure.renderers if isinstance(r, GlyphRenderer)):
        for name, values in renderer.data_source.data.items():
            found.setdefault(name, []).append(values)
    return found


def labels(figure) -> tuple[str, str]:
    return figure.xaxis[0].axis_label, figure.yaxis[0].axis_label
