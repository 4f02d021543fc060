"""The tab on layers: which of them hurt, and what leaving one float is worth."""

from __future__ import annotations

import panel as pn

from explorer.page.sections import html, section
from explorer.session import Session

LEAD = (
    "How far the picture is from the float network's when one layer alone is quantized, and when all but "
    "that one are: a long bar on the left, or a short one on the right, is a layer to keep float. Method, "
    "bits and set are those of the sidebar."
)
NOTE = (
    "Error: root mean square of the luma against the float network's picture, after rounding to 8 bits, on "
    "the image and region of the sidebar. Layers kept float stay so in the pictures of the tab Explore and "
    "in the INT8 file; the bars quantize them all the same, to compare."
)


def layers(session: Session) -> pn.Column:
    """The view, the chosen layer's switch, and the note."""
    state = session.state
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
        "Which layers hurt",
        LEAD,
        session.layers.panel,
        pn.FlexBox(button, session.layers.scores, margin=0),
        html(f"<p class='note'>{NOTE}</p>", sizing_mode="stretch_width"),
    )
