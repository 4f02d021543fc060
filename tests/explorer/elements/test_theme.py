"""What all figures share."""

import holoviews as hv
from bokeh.document import Document
from bokeh.io.doc import patch_curdoc
from bokeh.themes import Theme

from explorer.elements.theme import bokeh_plot


def test_a_figure_for_a_file_leaves_the_page_that_is_served_alone():
    page, theme = Document(), Theme(json={"attrs": {"Plot": {"background_fill_color": "black"}}})
    page.theme = theme
    with patch_curdoc(page):
        plot = bokeh_plot(hv.Curve([1, 2, 3]))
    assert page.theme is theme
    assert plot.document is not page
    assert not page.roots
    assert plot.state.renderers
