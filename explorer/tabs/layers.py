"""The tab Layers: how sensitive each layer is, and what keeping one float gains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import panel as pn

from explorer.choices.state import LAYERS, ExplorerState
from explorer.page.sections import html, section
from explorer.pipeline import pictures
from explorer.server.document_queue import held
from explorer.session import QUANTIZATION, SHOWN, Output, Work
from explorer.tabs.tab import Tab
from explorer.views.layers import LayersView

LEAD = (
    "How far the picture is from the float network's when one layer alone is quantized, and when all but "
    "that one are. Keep the layers float that have a long bar on the left, or a short one on the right. "
    "Method, bits and set are those of the sidebar."
)
NOTE = (
    "Error: root mean square of the luma against the float network's picture, after rounding to 8 bits, on "
    "the image and region of the sidebar. Layers kept float stay so in the pictures of the tab Explore and "
    "in the INT8 file; the bars quantize every layer, to compare."
)


class Layers(Output):
    """The error by layer, and the picture with the chosen ones kept float."""

    name, follows = "layers", (*SHOWN, *QUANTIZATION, "weight_bits", "float_layers")

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = LayersView(lambda layer: state.param.update(layer=layer))
        state.param.watch(held(lambda event: self.view.mark(event.new)), "layer")

    def work(self) -> Work:
        """Show the error by layer, then the scores with the chosen ones kept float."""
        state, view = self.state, self.view
        where = (state.network, state.image, state.region)
        configs, bits = state.configs(), state.activation_bits
        kept, layer, own = tuple(state.float_layers), state.layer, tuple(state.calibration)
        view.wait()

        def work(token):
            config = configs(bits)
            total, found = pictures.sensitivity(*where, config, own, token=token)
            yield partial(view.show, total, found, layer)
            choices = ((config, (), None, own), (config, kept, None, own), ("float",))
            shown = [pictures.picture(*where, *choice, token=token) for choice in choices]
            yield partial(view.show_scores, *shown, len(kept))

        return work


class LayersTab(Tab):
    """The error by layer, and a button that keeps the chosen one float."""

    key = LAYERS

    def make(self) -> Sequence[Output]:
        """Make the one output."""
        self.layers = Layers(self.state)
        return (self.layers,)

    def layout(self) -> pn.Column:
        """Return the figures, the button and the note."""
        state, view = self.state, self.layers.view
        p = state.param

        def label(layer: str, kept: list[str]) -> str:
            return f"Quantize {layer} again" if layer in kept else f"Keep {layer} float"

        def toggle(event) -> None:
            kept = list(state.float_layers)
            kept.remove(state.layer) if state.layer in kept else kept.append(state.layer)
            state.float_layers = kept

        button = pn.widgets.Button(
            label=pn.bind(label, p.layer, p.float_layers), color="primary", variant="outline", margin=(6, 8)
        )
        button.on_click(toggle)
        return section(
            "Sensitivity of the layers",
            LEAD,
            view.panel,
            pn.FlexBox(button, view.scores, margin=0),
            html(f"<p class='note'>{NOTE}</p>", sizing_mode="stretch_width"),
        )
