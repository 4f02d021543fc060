"""What the parts of the page are made of."""

from __future__ import annotations

import panel as pn

from core.ptq.config import FLOAT
from explorer.choices.state import BITS, SAME
from explorer.server.keyboard import FOCUS
from explorer.views.theme import LATE

WEIGHT_NAMES = {"as activations": SAME} | {str(bits): bits for bits in BITS} | {"float": FLOAT}
CSS = (
    LATE
    + """
:host { --line: rgba(128, 128, 128, 0.3); }
h2 { font-size: 17px; margin: 0 0 2px; }
label { font-size: 13px; }
.file { font-size: 13px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.note { font-size: 13px; opacity: 0.8; margin: 0; }
summary { cursor: pointer; }
.progress { position: relative; height: 20px; border-radius: 4px; background: var(--line); overflow: hidden; }
.progress .bar { position: absolute; inset: 0 auto 0 0; background: #0072b2; opacity: 0.45; }
.progress span { position: relative; font-size: 12px; line-height: 20px; padding-left: 8px; }
.error { padding: 8px 12px; border-left: 4px solid #d55e00; background: rgba(213, 94, 0, 0.12);
  font-size: 14px; }
"""
)
TOGGLE = dict(
    color="primary",
    variant="outline",
    stylesheets=[".bk-btn.bk-active { color: white !important; }", FOCUS],
)
pn.widgets.Widget.stylesheets = [FOCUS]  # of every control that names none
SECTION = """
:host {
  border: 1px solid rgba(128, 128, 128, 0.25); border-radius: 8px; padding: 12px 14px; margin: 0 0 12px;
}
@media (max-width: 800px) { :host { padding: 8px 4px; } }
"""

SMALL = ".bk-btn { height: 24px; padding: 0 !important; font-size: 12px; }"
WIDE = dict(sizing_mode="stretch_width", margin=(3, 8))


def html(text, **options) -> pn.pane.HTML:
    """A text with the page's style."""
    return pn.pane.HTML(text, stylesheets=[CSS], **options)


def section(title: str, lead: str, *content) -> pn.Column:
    """A framed part of the page under its title and one sentence."""
    head = f"<h2>{title}</h2><p class='note'>{lead}</p>"
    return pn.Column(
        html(head, sizing_mode="stretch_width", margin=0),
        *content,
        stylesheets=[SECTION],
        sizing_mode="stretch_width",
    )
