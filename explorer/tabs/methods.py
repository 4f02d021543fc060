"""The tab Methods: several of them at the same bits, on the same image."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial

import panel as pn

from core.measured import ingredients, measured, over_draws
from explorer.choices.catalog import NETWORKS, without_truth
from explorer.choices.state import METHODS_TAB, ExplorerState
from explorer.page.sections import TOGGLE, answering, details, html
from explorer.pipeline.method_comparison import Inspection, inspect
from explorer.pipeline.names import TITLES, references, weights_and_activations
from explorer.pipeline.pictures import FLOAT_SR, TRUTH, PictureRequest
from explorer.server.document_queue import held
from explorer.session import QUANTIZATION, SHOWN, Output, Work
from explorer.tabs.tab import Tab
from explorer.tabs.tuning import Tuning, tuning_section
from explorer.views.methods import SELECT, MethodsView
from explorer.views.theme import TABLE

QUESTION = "Which method keeps the picture best at these bits?"
NOTE = (
    "Tap a small picture to see it large. Look where methods ring, blur or band: tap an edge to see the luma "
    "across it, draw a region to score it alone. PSNR and SSIM as in the tab Explore; in a region nothing is "
    "cropped, and SSIM needs 11×11 pixels. Colour shift: how far the mean colour of the region, or else of "
    "the picture, is from that of the {}, in 8-bit levels, the largest of the three channels."
)


WORTH = (
    "Two things tell methods apart: how activations are normalized, and which levels they are mapped to. "
    "dB lost on Set5 and Set14 at {}, with the weights of dfsq+ for all:"
)
WORTH_HEAD = ("normalization", "points of the set", "uniform levels", "effective bits")


@functools.cache
def worth(network: str, bits: int) -> str:
    """Write what each ingredient gains on a bundled network, as HTML; empty where it was not measured."""
    if network not in NETWORKS:
        return ""
    size = "W4A4" if bits >= 4 else "W2A2"
    table = ingredients(over_draws(measured()), "{} x{}".format(*NETWORKS[network]), size)
    if table is None:
        return ""
    digits = dict.fromkeys(table, "{:.2f}".format)
    table = table.rename(columns=dict(zip(table, WORTH_HEAD[1:], strict=True)))
    table = table.rename_axis(WORTH_HEAD[0]).reset_index()
    formats = dict(zip(WORTH_HEAD[1:], digits.values(), strict=True))
    rows = table.to_html(index=False, formatters=formats, border=0, justify="right")
    return (
        f"<details class='note'><summary>What is each ingredient worth?</summary><p>{WORTH.format(size)}</p>"
        f"<div class='wide worth'>{rows}</div></details>"
    )


class Methods(Output):
    """The same picture by every chosen method, with a table and profiles that compare them."""

    name = "methods"
    follows = (*SHOWN, *QUANTIZATION, "methods", "weight_bits", "float_layers", "box", "spot", "direction")

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = MethodsView(state.param.update, lambda key: state.param.update(large=key))
        self._enlarge()
        state.param.watch(held(lambda *_: self._enlarge()), ["large", "beside"])

    def _enlarge(self) -> None:
        self.view.enlarge(self.state.large, self.state.beside)

    def work(self) -> Work:
        """Show the pictures one after the other, then table and profiles."""
        state, view = self.state, self.view
        where, kept = (state.network, state.image, state.region), tuple(state.float_layers)
        own = tuple(state.calibration)
        inspection = Inspection(tuple(state.box), tuple(state.spot), state.direction)
        bits = state.activation_bits
        size = weights_and_activations(state.weight_bits or bits, bits)
        configs = {method: state.configs(method) for method in state.methods}
        names = {key: TITLES[key] for key in references(state.image, "hr", "float")}
        names |= {method: f"{method} {size}" for method in configs}

        def work(token):
            yield partial(view.arrange, names)
            for done, key in enumerate(names):
                token.progress("Super-resolving", done / len(names))
                try:
                    what = (configs[key](bits), kept, None, own) if key in configs else (key,)
                    found = inspect(PictureRequest(*where, *what), inspection, token)
                except ValueError as error:
                    yield partial(view.say, key, str(error))
                else:
                    yield partial(view.show, key, found, inspection)
            yield partial(view.show_all, inspection)

        return work


class MethodsTab(Tab):
    """The choice of methods, region and line, and the view."""

    key = METHODS_TAB

    def make(self) -> Sequence[Output]:
        """Make the outputs; the pictures of both show the same part."""
        self.methods = Methods(self.state)
        self.tuning = Tuning(self.session, self.methods.view.window)
        return self.methods, self.tuning

    def layout(self) -> pn.Column:
        """Return controls, pictures and notes."""
        state, view = self.state, self.methods.view
        p = state.param
        button = dict(margin=(18, 8, 0, 8))
        draw = pn.widgets.Toggle(label="Draw a region", width=130, **button, **TOGGLE)
        draw.jscallback(value=SELECT)
        whole = pn.widgets.Button(label="Clear the region", width=130, disabled=p.box.rx.not_(), **button)
        whole.on_click(held(lambda _: state.param.update(box=[])))
        zoom = pn.widgets.Button(label="Reset zoom", width=110, **button)
        zoom.on_click(held(lambda _: view.window.reset()))
        methods = pn.widgets.CheckButtonGroup.from_param(
            p.methods, css_classes=["wrap"], **TOGGLE, sizing_mode="stretch_width", margin=(0, 8)
        )

        def group(label: str, parameter) -> pn.Column:
            widget = pn.widgets.RadioButtonGroup.from_param(parameter, **TOGGLE)
            return pn.Column(html(f"<label>{label}</label>", margin=(0, 8)), widget, margin=(0, 8))

        def note(image: str) -> str:
            return f"<p class='note'>{NOTE.format(FLOAT_SR if without_truth(image) else TRUTH)}</p>"

        looks = pn.FlexBox(
            group("Beside the large picture", p.beside),
            group("Line along the", p.direction),
            draw,
            whole,
            zoom,
        )
        worths = html(
            pn.bind(worth, p.network, p.activation_bits), stylesheets=[TABLE], sizing_mode="stretch_width"
        )
        wide = dict(sizing_mode="stretch_width")
        return answering(
            QUESTION,
            pn.Column(methods, looks, css_classes=["card"], **wide),
            view.panel,
            tuning_section(self.tuning),
            details(worths, html(pn.bind(note, p.image), sizing_mode="stretch_width")),
        )
