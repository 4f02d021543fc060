"""The sidebar: what the open tab follows, in groups, and what to try next."""

from __future__ import annotations

from html import escape

import panel as pn

from explorer.choices.catalog import about
from explorer.choices.help import METHOD_HELP
from explorer.choices.state import (
    DEPLOYMENT,
    EXPLORE,
    FROM_SUBSET,
    LAYERS,
    METHODS_TAB,
    SWEEP,
    TABS,
    TRAINING,
    ExplorerState,
)
from explorer.choices.uploads import Uploads
from explorer.page.files_panel import files_panel
from explorer.page.region_panel import region
from explorer.page.sections import TOGGLE, WEIGHT_NAMES, WIDE, checklist, fold, html, labelled
from explorer.page.tour import tour

QUANTIZED = (EXPLORE, METHODS_TAB, LAYERS)  # the tabs that follow bits and points
OF_METHOD = (EXPLORE, LAYERS)  # those that follow the one chosen method


def controls(state: ExplorerState, uploads: Uploads, small_map: pn.Column) -> list:
    """Make the sidebar; a control shows only on the tabs, and for the methods, that follow it."""
    return [_input(state, uploads, small_map), _quantizer(state), tour(state)]


def _input(state: ExplorerState, uploads: Uploads, small_map: pn.Column) -> pn.Column:
    p = state.param
    return pn.Column(
        html("<h3>Input</h3>", **WIDE),
        pn.widgets.Select.from_param(p.network, label="Network", **WIDE),
        html(pn.bind(_about, p.network), margin=(0, 8), sizing_mode="stretch_width"),
        pn.widgets.Select.from_param(p.image, label="Image", **WIDE),
        region(state, uploads, small_map),
        files_panel(state, uploads),
        visible=pn.bind(lambda tab: tab != SWEEP, p.tab),
        margin=0,
        sizing_mode="stretch_width",
    )


def _about(network: str) -> str:
    text = escape(about(network), quote=True)
    return f"<span class='note about' title='{text}'>{text}</span>"


def _quantizer(state: ExplorerState) -> pn.Column:
    p = state.param

    def on(tabs: tuple[str, ...]):
        return pn.bind(lambda tab: tab in tabs, p.tab)

    def chooses(tab: str, method: str) -> bool:
        """Tell whether the open tab shows a method that chooses points from the universal set."""
        return tab == METHODS_TAB or (tab in OF_METHOD and method in FROM_SUBSET)

    chosen = pn.bind(chooses, p.tab, p.method)
    return pn.Column(
        html("<h3>Quantizer</h3>", **WIDE),
        pn.widgets.IntSlider.from_param(
            p.activation_bits, label="Activation bits", css_classes=["bits"], visible=on(QUANTIZED), **WIDE
        ),
        pn.Row(
            pn.widgets.Select.from_param(p.method, label="Method", visible=on(OF_METHOD), **WIDE),
            pn.widgets.Select.from_param(
                p.weight_bits, label="Weight bits", options=WEIGHT_NAMES, visible=on(QUANTIZED), **WIDE
            ),
            margin=0,
            sizing_mode="stretch_width",
        ),
        html(
            pn.bind(_in_a_line, p.method), visible=on(OF_METHOD), sizing_mode="stretch_width", margin=(0, 8)
        ),
        pn.Column(
            labelled(
                "How points are chosen", pn.widgets.RadioButtonGroup.from_param(p.selector, **TOGGLE, **WIDE)
            ),
            fold(state, "set", pn.bind(_set_size, p.words, p.terms, p.method, state), lambda: _set(state)),
            visible=chosen,
            margin=0,
            sizing_mode="stretch_width",
        ),
        pn.Column(
            fold(
                state,
                "float",
                pn.bind(lambda kept: f"Layers kept float: {len(kept) or 'none'}", p.float_layers),
                lambda: checklist(p.float_layers, "Keep float", **WIDE),
            ),
            visible=on((*OF_METHOD, DEPLOYMENT)),
            margin=0,
            sizing_mode="stretch_width",
        ),
        visible=on(tuple(tab for tab in TABS if tab not in (SWEEP, TRAINING))),
        margin=0,
        sizing_mode="stretch_width",
    )


def _in_a_line(method: str) -> str:
    return f"<p class='note'>{escape(METHOD_HELP[method])}</p>"


def _set_size(words: int, terms: int, method: str, state: ExplorerState) -> str:
    candidates = state.candidates()
    doubled = ", doubled" if candidates.doubled else ""
    return f"Universal set: {len(candidates):,} points{doubled}"


def _set(state: ExplorerState) -> pn.Column:
    p = state.param

    def step(*_) -> str:
        return f"<p class='note'>grid step 1/{round(1 / state.candidates().step):,}</p>"

    return pn.Column(
        pn.Row(
            pn.widgets.IntSlider.from_param(p.words, label="Words", **WIDE),
            pn.widgets.IntSlider.from_param(p.terms, label="Terms", **WIDE),
        ),
        html(pn.bind(step, p.words, p.terms, p.method), margin=(0, 8)),
        margin=0,
        sizing_mode="stretch_width",
    )


def sheet(state: ExplorerState) -> pn.Column:
    """Make the three controls that matter, for the foot of a narrow screen."""
    p = state.param
    return pn.Column(
        pn.widgets.IntSlider.from_param(p.activation_bits, label="Bits", **WIDE),
        pn.Row(
            pn.widgets.Select.from_param(p.method, label="Quantizer", **WIDE),
            pn.widgets.Select.from_param(p.image, label="Photograph", **WIDE),
            margin=0,
            sizing_mode="stretch_width",
        ),
        # By a class, since a style that places it at the foot of a narrow screen would show it all the same.
        css_classes=pn.bind(lambda tab: ["sheet"] if tab == EXPLORE else ["sheet", "away"], p.tab),
        margin=0,
    )
