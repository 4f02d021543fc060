"""The tab Layers: how sensitive each layer is, what keeping some float gains, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import panel as pn

from explorer.choices.catalog import layer_channels
from explorer.choices.state import LAYERS, ExplorerState
from explorer.page.sections import answering, card, details, fold, note
from explorer.pipeline import pictures
from explorer.pipeline.deployment import Plan
from explorer.pipeline.layer_costs import layer_costs
from explorer.server.document_queue import held
from explorer.session import QUANTIZATION, SHOWN, Output, Work
from explorer.tabs.layer_bits import Budgets, LayerBits, layer_bits_section
from explorer.tabs.tab import Tab
from explorer.views.layers import LayerCostsView, LayersView

QUESTION = "Which layers hurt the picture most when they are quantized?"
NOTE = (
    "Error: root mean square of the luma against the float network's picture, after rounding to 8 bits, on "
    "the chosen image and region. Above: how large it is when one layer alone is quantized. Below: how much "
    "smaller it gets when that layer alone stays float. Layers with long bars are worth keeping float. They "
    "then stay float in the pictures of the tab Explore and in the INT8 file too; the bars quantize every "
    "layer, to compare."
)
COSTS = "What does it cost on a device to keep a layer float?"
OPEN_COSTS = "Time and size of each layer (ten seconds or more)"
COSTS_NOTE = (
    "Each layer's time in an INT8 and in a float file, by ONNX Runtime's own profiler on one thread of this "
    "machine: another device has other times, but much the same slow layers. Between INT8 layers a float one "
    "has its values converted too, which is not counted. Grouped convolutions are dense in INT8, with zeros "
    "between the groups. Image size and representative images are chosen in the tab Deployment, where "
    "whole files are measured."
)


class Layers(Output):
    """The error by layer, and the pictures with the chosen ones kept float."""

    name, follows = "layers", (*SHOWN, *QUANTIZATION, "weight_bits", "float_layers")

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = LayersView(held(self._toggle))
        self._bars_of: list = []  # the choices that the bars were last asked for
        state.param.watch(held(lambda event: self.view.mark(event.new)), "float_layers")

    def _toggle(self, layer: str) -> None:
        """Keep a layer float, or quantize it again; the tab Explore then shows it."""
        kept = self.state.float_layers
        others = [name for name in kept if name != layer]
        self.state.param.update(layer=layer, float_layers=others if layer in kept else [*kept, layer])

    def work(self) -> Work:
        """Show the error by layer, then the pictures with the chosen ones kept float."""
        state, view = self.state, self.view
        where = (state.network, state.image, state.region)
        configs, bits = state.configs(uniform=True), state.activation_bits
        kept, own = tuple(state.float_layers), tuple(state.calibration)
        asked = [getattr(state, choice) for choice in self.follows if choice != "float_layers"]
        view.wait(bars=asked != self._bars_of)
        self._bars_of = asked

        def work(token):
            config = configs(bits)
            total, found = pictures.sensitivity(*where, config, own, token=token)
            yield partial(view.show, total, found, kept)
            choices = {
                "float": ("float",),
                "whole": (config, (), None, own),
                "kept": (config, kept, None, own),
            }
            made = {key: pictures.picture(*where, *what, token=token) for key, what in choices.items()}
            difference = pictures.difference(made["kept"], made["float"])
            yield partial(view.show_pictures, made, difference, len(kept))

        return work

    def clear(self) -> None:
        """Show nothing: the status line says why."""
        self._bars_of = []
        self.view.clear()


class LayerCosts(Output):
    """What keeping a layer float costs, while that part of the page is open."""

    name = "layer costs"
    follows = (
        "network",
        "strategy",
        "representatives",
        "calibration",
        "file_size",
        "float_layers",
        "details",
    )

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = LayerCostsView()

    def work(self) -> Work:
        """Show the cost of each layer."""
        plan, view, opened = Plan.of(self.state), self.view, self.state.is_open("layer costs")

        def work(token):
            if opened:
                found = layer_costs(plan, token=token)
                others = len(layer_channels(plan.network)) - len(found)
                yield partial(view.show, found, plan.float_layers, plan.size, others)

        return work

    def wait(self) -> None:
        """Dim the figures."""
        self.view.wait()

    def clear(self) -> None:
        """Show nothing: the status line says why."""
        self.view.clear()


class LayersTab(Tab):
    """The error by layer with its pictures, what a float layer costs, and bits by layer."""

    key = LAYERS

    def make(self) -> Sequence[Output]:
        """Make the outputs; the pictures of all show the same part."""
        self.layers = Layers(self.state)
        self.bits = LayerBits(self.session, self.layers.view.window)
        self.costs = LayerCosts(self.state)
        return self.layers, self.bits, Budgets(self.state, self.bits.view), self.costs

    def layout(self) -> pn.Column:
        """Return the question, figures and pictures, the bits by layer, and the note."""
        return answering(
            QUESTION,
            self.layers.view.panel,
            card(COSTS, fold(self.state, "layer costs", OPEN_COSTS, self.costs.view.panel), note(COSTS_NOTE)),
            layer_bits_section(self.state, self.bits),
            details(note(NOTE)),
        )
