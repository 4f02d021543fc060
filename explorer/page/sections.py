"""What the parts of the page are made of."""

from __future__ import annotations

import panel as pn

from core.config import FLOAT
from explorer.choices.state import BITS, SAME

WEIGHT_NAMES = {"as activations": SAME} | {str(bits): bits for bits in BITS} | {"float": FLOAT}
TOGGLE = dict(color="primary", variant="outline")
WIDE = dict(sizing_mode="stretch_width", margin=(3, 8))


def html(text, **options) -> pn.pane.HTML:
    """Return a text with the page's style."""
    return pn.pane.HTML(text, css_classes=["text"], **options)


def section(title: str, lead: str, *content) -> pn.Column:
    """Return a framed part of the page under its title and one sentence."""
    head = f"<h2>{title}</h2><p class='note'>{lead}</p>"
    return pn.Column(
        html(head, sizing_mode="stretch_width", margin=0),
        *content,
        css_classes=["section"],
        sizing_mode="stretch_width",
    )
