"""The sidebar: network, image, and how they are quantized."""

from __future__ import annotations

from html import escape

import panel as pn

from explorer.choices.catalog import about
from explorer.choices.state import FROM_SUBSET, ExplorerState
from explorer.choices.uploads import Uploads
from explorer.page.files_panel import files_panel
from explorer.page.glossary import glossary
from explorer.page.region_panel import region
from explorer.page.sections import TOGGLE, WEIGHT_NAMES, checklist, html, labelled
from explorer.page.tour import tour


def controls(state: ExplorerState, uploads: Uploads, small_map: pn.Column, search: str = "") -> list:
    """Make the sidebar; `search` is that of the page's address."""
    p = state.param
    wide = dict(sizing_mode="stretch_width", margin=(3, 8))

    def set_size(*chosen: object) -> str:
        candidates = state.candidates()
        doubled = " with doubles" if candidates.doubled else ""
        step = f"grid step 1/{round(1 / candidates.step):,}"
        return f"<span class='note'>{len(candidates):,} points{doubled}, {step}</span>"

    channel = pn.widgets.IntSlider.from_param(p.channel, label="Channel", **wide)
    subset = pn.Column(
        pn.Row(
            pn.widgets.IntSlider.from_param(p.words, label="Words", **wide),
            pn.widgets.IntSlider.from_param(p.terms, label="Terms", **wide),
        ),
        html(pn.bind(set_size, p.words, p.terms, p.method), margin=(0, 8)),
        labelled("Selector", pn.widgets.RadioButtonGroup.from_param(p.selector, **TOGGLE, **wide)),
        visible=p.method.rx().rx.in_(FROM_SUBSET),
        margin=0,
        sizing_mode="stretch_width",
    )
    return [
        html(tour(search) + glossary(), margin=(0, 8, 4, 8), sizing_mode="stretch_width"),
        pn.widgets.Select.from_param(p.network, label="Network", **wide),
        html(pn.bind(lambda key: f"<p class='note'>{escape(about(key))}</p>", p.network), margin=(0, 8)),
        pn.widgets.Select.from_param(p.image, label="Image", **wide),
        region(state, uploads, small_map),
        files_panel(state, uploads),
        pn.widgets.IntSlider.from_param(p.activation_bits, label="Activation bits", **wide),
        pn.widgets.Select.from_param(p.weight_bits, label="Weight bits", options=WEIGHT_NAMES, **wide),
        pn.widgets.Select.from_param(p.method, label="Method", **wide),
        subset,
        pn.widgets.Select.from_param(p.layer, label="Layer", **wide),
        channel,
        checklist(p.float_layers, "Keep float", **wide),
        labelled(
            "Bit-widths compared", pn.widgets.CheckButtonGroup.from_param(p.compared_bits, **TOGGLE, **wide)
        ),
    ]
