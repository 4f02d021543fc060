"""The building blocks of the page: cards, folds, sections, labels, checklists."""

from __future__ import annotations

from collections.abc import Callable

import panel as pn
import param

from core.ptq.config import FLOAT
from explorer.choices.state import BITS, SAME, ExplorerState
from explorer.server.document_queue import held

WEIGHT_NAMES = {"the same": SAME} | {str(bits): bits for bits in BITS} | {"float": FLOAT}
TOGGLE = dict(color="primary", variant="outline")
WIDE = dict(sizing_mode="stretch_width", margin=(3, 8))


def html(text, **options) -> pn.pane.HTML:
    """Return a text with the page's style."""
    return pn.pane.HTML(text, css_classes=["text"], **options)


def labelled(label: str, widget: pn.widgets.Widget) -> pn.Column:
    """Return a widget that shows no name of its own, such as a group of buttons, below one."""
    return _below(f"<label>{label}</label>", widget)


def checklist(parameter: param.Parameter, label: str, **options) -> pn.Column:
    """Return boxes to tick below how many are ticked, since a long list scrolls."""
    boxes = pn.widgets.CheckBoxGroup.from_param(parameter, css_classes=["list"], **options)
    name = pn.bind(lambda ticked: f"<label>{label}: {len(ticked) or 'none'}</label>", parameter)
    return _below(name, boxes)


def _below(name, widget: pn.widgets.Widget) -> pn.Column:
    return pn.Column(html(name, margin=(3, 8, 0, 8)), widget, margin=0, sizing_mode="stretch_width")


def section(title: str, lead: str, *content) -> pn.Column:
    """Return a framed part of the page under its title and one sentence."""
    head = f"<h2>{title}</h2><p class='note'>{lead}</p>"
    return pn.Column(
        html(head, sizing_mode="stretch_width", margin=0),
        *content,
        css_classes=["section"],
        sizing_mode="stretch_width",
    )


def card(title: str | pn.viewable.Viewable, *content, name: str = "") -> pn.Column:
    """Return a framed part of the page under its title; `name`: its CSS class."""
    head = (
        html(f"<h2>{title}</h2>", sizing_mode="stretch_width", margin=0) if isinstance(title, str) else title
    )
    return pn.Column(
        head, *content, css_classes=["card", *name.split()], sizing_mode="stretch_width", margin=0
    )


def switch(state: ExplorerState, detail: str, label, **options) -> pn.widgets.Toggle:
    """Return the button that opens and closes a part of the page, one of the state's DETAILS."""
    toggle = pn.widgets.Toggle(
        label=label, value=state.is_open(detail), **(dict(css_classes=["fold"], margin=0) | options)
    )
    toggle.param.watch(lambda event: state.open(detail, event.new), "value")
    state.param.watch(lambda event: toggle.param.update(value=detail in event.new), "details")
    return toggle


def when_open(state: ExplorerState, detail: str, make: Callable[[], pn.Column]) -> pn.Column:
    """Return the place of a part of the page, which is made when it is first opened."""
    place = pn.Column(sizing_mode="stretch_width", margin=0, visible=state.is_open(detail))

    @held
    def follow(*_) -> None:
        if (opened := state.is_open(detail)) and not place.objects:
            place.objects = [make()]
        place.visible = opened

    follow()
    state.param.watch(follow, "details")
    return place


def fold(state: ExplorerState, detail: str, label, make: Callable[[], pn.Column]) -> pn.Column:
    """Return a part of the page below the button that opens it."""
    return pn.Column(
        switch(state, detail, label), when_open(state, detail, make), margin=0, sizing_mode="stretch_width"
    )


def answering(question: str, *content) -> pn.Column:
    """Return a tab's layout: the question that it answers, and its parts below each other."""
    title = html(f"<h2>{question}</h2>", sizing_mode="stretch_width")
    wide = dict(sizing_mode="stretch_width", margin=0)
    return pn.Column(title, pn.Column(*content, css_classes=["parts"], **wide), **wide)


def note(text: str) -> pn.pane.HTML:
    """Return a small text of full width."""
    return html(f"<p class='note'>{text}</p>", sizing_mode="stretch_width", margin=0)


def details(*content) -> pn.Column:
    """Return what is below a tab's answer, for those who want to know more."""
    return pn.Column(*content, css_classes=["details"], sizing_mode="stretch_width", margin=0)
