"""The tab on methods: at the same bits, on the same image."""

from __future__ import annotations

import panel as pn

from explorer.elements import TOGGLE, html, section
from explorer.pictures import FLOAT_SR, TRUTH
from explorer.session import Session
from explorer.sources import without_truth
from explorer.views.methods import SELECT

LEAD = (
    "The same picture by several methods at the bits of the sidebar. Look where they ring, blur or band: "
    "draw a region to score it alone, tap an edge to see the luma across it."
)
NOTE = (
    "PSNR and SSIM as in the tab Explore; in a region nothing is cropped, and SSIM needs 11×11 pixels of it. "
    "Colour shift: how far the mean colour of the region is from that of the {}, the largest of the "
    "three channels. Set, selector and layers kept float are those of the sidebar."
)


def methods(session: Session) -> pn.Column:
    """Which methods, where to look, and the view."""
    state, view = session.state, session.methods
    p = state.param
    draw = pn.widgets.Toggle(label="Draw a region", width=130, margin=(18, 8, 0, 8), **TOGGLE)
    draw.param.watch(lambda event: setattr(view, "selecting", event.new), "value")
    draw.jscallback(value=SELECT)
    whole = pn.widgets.Button(
        label="Drop the region", width=130, margin=(18, 8, 0, 8), disabled=p.box.rx.not_()
    )
    whole.on_click(lambda _: state.param.update(box=[]))
    zoom = pn.widgets.Button(label="Reset zoom", width=110, margin=(18, 8, 0, 8))
    zoom.on_click(lambda _: view.window.reset())
    line = pn.widgets.RadioButtonGroup.from_param(p.direction, **TOGGLE)

    def note(image: str) -> str:
        return f"<p class='note'>{NOTE.format(FLOAT_SR if without_truth(image) else TRUTH)}</p>"

    return section(
        "Methods side by side",
        LEAD,
        pn.FlexBox(
            pn.widgets.MultiChoice.from_param(p.methods, label="Methods", width=350, margin=(0, 8)),
            pn.Column(html("<label>Line along the</label>", margin=(0, 8)), line, margin=(0, 8)),
            draw,
            whole,
            zoom,
            margin=0,
        ),
        view.panel,
        html(pn.bind(note, p.image), sizing_mode="stretch_width"),
    )
