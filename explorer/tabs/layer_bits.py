"""The second part of the tab Layers: bits by layer under a budget."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import partial

import panel as pn

from core.analysis.allocation import UNITS
from core.ptq.methods import TRAINED
from explorer.choices.catalog import layer_channels
from explorer.choices.layer_bits import Bits, written
from explorer.choices.state import ExplorerState
from explorer.page.sections import TOGGLE, card, fold, html, note
from explorer.pipeline import allocation, pictures
from explorer.pipeline.names import weights_and_activations
from explorer.server.document_queue import held
from explorer.session import QUANTIZATION, SHOWN, Output, Session, Work
from explorer.views.canvas import Window
from explorer.views.layer_bits import LayerBitsView, Side

TITLE = "What are the best bits of each layer for a budget?"
NOTE = (
    "Budget: what the quantized layers may cost, in percent of what they cost at the sliders' bits. Each "
    "layer's effect on the picture is measured once, alone, on the calibration patches; a knapsack has the "
    "best bits; layers do not quite add up, so the result is measured and corrected. The picture of the tab "
    "Explore, the link and the files of Export have these bits by layer until the bits of the sliders, the "
    "method or the network change."
)
UNIT_NAMES = dict(zip(("bit operations", "bytes of weights"), UNITS, strict=True))
PER_LAYER = "weight_bits", "float_layers"
UNIFORM = "Every layer has the sliders' bits. Move the budget, or drag a bar."
CURVE = "PSNR over budget (a minute or more)"


class LayerBits(Output):
    """The bits by layer, their picture and cost beside those of the sliders' bits for all."""

    name, follows = "bits by layer", (*SHOWN, *QUANTIZATION, *PER_LAYER, "layer_bits")

    def __init__(self, session: Session, window: Window):
        super().__init__(session.state)
        self._session, self._allocated = session, ("", 0)  # the last allocation, and its budget
        self.view = LayerBitsView(window, held(self.set_bits))
        self.state.param.watch(held(lambda *_: self.allocate()), ["budget", "budget_unit"])

    def same(self) -> Bits:
        """Return the sliders' bits."""
        state = self.state
        return state.weight_bits or state.activation_bits, state.activation_bits

    def set_bits(self, layer: str, side: int, bits: int) -> None:
        """Set the bits of a layer's weights (side 0) or activations by hand."""
        state = self.state
        own = list(state.own_bits(layer))
        own[side] = bits
        found = state.bits_by_layer() | {layer: tuple(own)}
        try:
            uniform = state.configs(uniform=True)(state.activation_bits)
            dataclasses.replace(uniform, layer_bits=tuple((name, *own) for name, own in found.items()))
        except ValueError as error:
            self._session.complain("by hand", str(error))
            return
        self._session.complain("by hand", "")
        state.param.update(layer=layer, layer_bits=self._written(found))

    def _written(self, found: dict[str, Bits]) -> str:
        return written(found, list(layer_channels(self.state.network)), self.same())

    def reset(self) -> None:
        """Give every layer the sliders' bits."""
        self._session.stop("allocate")
        self.state.layer_bits = ""

    def allocate(self) -> None:
        """Allocate the bits under the budget in a thread; the page then follows."""
        state = self.state
        configs, bits, network = state.configs(uniform=True), state.activation_bits, state.network
        asked = (state.budget_unit, state.budget, tuple(state.float_layers), tuple(state.calibration))
        choices = ("network", "method", "activation_bits", "weight_bits", "float_layers", "layer_bits")
        before = [getattr(state, choice) for choice in choices]

        def take(found) -> None:
            if [getattr(state, choice) for choice in choices] == before:  # nobody chose other bits meanwhile
                text = self._written({layer: tuple(own) for layer, *own in found.layer_bits})
                self._allocated = text, asked[1]
                if state.layer_bits == text:
                    self.view.said.object = self._said()
                state.layer_bits = text

        def work(token):
            yield partial(take, allocation.allocated(network, configs(bits), *asked, token=token))

        self._session.run("allocate", work)

    def _said(self) -> str:
        text, budget = self._allocated
        if not self.state.layer_bits:
            return UNIFORM
        if self.state.layer_bits == text:
            return f"Allocated for a budget of {budget} %. The tab Explore shows the picture with these bits."
        return "Bits set by hand or by a link. The tab Explore shows the picture with these bits."

    def work(self) -> Work:
        """Show the bits, then both pictures and their cost."""
        state, view, said = self.state, self.view, self._said()
        where = state.network, state.image, state.region
        kept, own = tuple(state.float_layers), tuple(state.calibration)
        uniform, chosen, bits = state.configs(uniform=True), state.configs(), state.activation_bits
        layers = [layer for layer in layer_channels(state.network) if layer not in kept]
        name, others = weights_and_activations(*self.same()), "the other layers" if kept else "every layer"

        def work(token):
            configs = {f"{name} in {others}": uniform(bits), "Bits by layer": chosen(bits)}
            if configs["Bits by layer"].method in TRAINED:
                raise ValueError(allocation.TOGETHER.format(configs["Bits by layer"].method))
            found = allocation.bits_of(chosen(bits), layers)
            yield partial(view.show_bits, found, self.same(), said)
            sides = [
                Side(
                    title,
                    pictures.picture(*where, config, kept, None, own, token=token),
                    allocation.spent(where[0], config, kept, own, token=token),
                )
                for title, config in configs.items()
            ]
            yield partial(view.show, *sides)

        return work

    def wait(self) -> None:
        """Dim the picture."""
        self.view.wait()

    def clear(self) -> None:
        """Show nothing: the status line says why."""
        self.view.clear()


class Budgets(Output):
    """The curve of PSNR over budget, while that part of the page is open."""

    name, follows = "budgets", (*SHOWN, *QUANTIZATION, *PER_LAYER, "budget_unit", "details")

    def __init__(self, state: ExplorerState, view: LayerBitsView):
        super().__init__(state)
        self.view = view

    def work(self) -> Work:
        """Show the curve, which grows point by point."""
        state, view, opened = self.state, self.view, self.state.is_open("budgets")
        where, unit = (state.network, state.image, state.region), state.budget_unit
        kept, own = tuple(state.float_layers), tuple(state.calibration)
        configs, current, method = state.configs(uniform=True), state.activation_bits, state.method

        def point(config, whole: float, name: str, token) -> tuple[float, float, str]:
            shown = pictures.picture(*where, config, kept, None, own, token=token)
            cost = getattr(allocation.spent(where[0], config, kept, own, token=token), unit)
            return 100 * cost / whole, shown.psnr, name

        def work(token):
            if not opened or method in TRAINED:
                return
            base = configs(current)
            whole = getattr(allocation.spent(where[0], base, kept, own, token=token), unit)
            found: tuple[list, list] = ([], [])
            for bits in allocation.UNIFORM:
                with contextlib.suppress(ValueError):  # bits that the method does not have
                    config = configs(bits)
                    size = weights_and_activations(config.weight_bits, bits)
                    found[1].append(point(config, whole, size, token))
            yield partial(view.budgets.show, list(found[0]), list(found[1]), method)
            for budget in allocation.BUDGETS:
                with contextlib.suppress(ValueError):  # less than the fewest bits cost
                    config = allocation.allocated(where[0], base, unit, budget, kept, own, token=token)
                    found[0].append(point(config, whole, f"budget {budget} %", token))
                yield partial(view.budgets.show, list(found[0]), list(found[1]), method)

        return work

    def wait(self) -> None:
        """Dim the curve."""
        self.view.budgets.wait()

    def clear(self) -> None:
        """Show no curve."""
        self.view.budgets.clear()


def layer_bits_section(state: ExplorerState, output: LayerBits) -> pn.Column:
    """Return the controls of the budget, the bars and pictures, and the curve."""
    p, view, small = state.param, output.view, dict(margin=(18, 8, 0, 8))
    name = pn.bind(
        lambda bits, weights: f"As uniform {weights_and_activations(weights or bits, bits)}",
        p.activation_bits,
        p.weight_bits,
    )
    buttons = [
        pn.widgets.Button(label="Allocate", width=110, color="primary", variant="outline", **small),
        pn.widgets.Button(label=name, width=190, disabled=p.layer_bits.rx.not_(), **small),
    ]
    for button, act in zip(buttons, (output.allocate, output.reset), strict=True):
        button.on_click(held(lambda _, act=act: act()))
    label = pn.bind(lambda bits, weights: _slider(weights or bits, bits), p.activation_bits, p.weight_bits)
    slider = pn.widgets.IntSlider.from_param(p.budget, label=label, step=5, width=300, margin=(3, 8))
    unit = pn.widgets.RadioButtonGroup.from_param(p.budget_unit, options=UNIT_NAMES, **TOGGLE)
    curve = fold(
        state, "budgets", CURVE, lambda: pn.Column(view.budgets.panel, sizing_mode="stretch_width", margin=0)
    )
    counted = pn.Column(html("<label>It counts</label>", margin=(0, 8)), unit, margin=(3, 8))
    controls = pn.FlexBox(slider, counted, *buttons, margin=(0, 0, 8, 0))
    return card(TITLE, controls, view.panel(), curve, note(NOTE))


def _slider(weights: int, bits: int) -> str:
    return f"Budget / % of uniform {weights_and_activations(weights, bits)}"
