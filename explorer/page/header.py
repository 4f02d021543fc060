"""The header: tabs, status, and what opens over the page."""

from __future__ import annotations

from collections.abc import Callable

import panel as pn

from explorer.choices.state import TABS, ExplorerState
from explorer.choices.status import Status
from explorer.page.sections import switch, when_open
from explorer.page.status_line import status_word
from explorer.server.document_queue import held

COPY = """
const button = cb_obj.origin ?? cb_obj, label = button.label;
navigator.clipboard.writeText(location.href).then(
  () => { button.label = 'Copied'; setTimeout(() => { button.label = label; }, 1500); },
  () => { prompt('The link:', location.href); });
"""


def header(state: ExplorerState, status: Status, stop_all: Callable[[], None]) -> list:
    """Make the tabs as buttons, the status, and the buttons of Words, Export and the link."""
    names = {tab.capitalize(): tab for tab in TABS}
    tabs = pn.widgets.RadioButtonGroup(options=names, value=state.tab, css_classes=["tabs"], margin=0)
    # Not by `from_param`, which sends each change by itself: `held` sends all that follows as one message.
    tabs.param.watch(held(lambda event: state.param.update(tab=event.new)), "value")
    state.param.watch(lambda event: tabs.param.update(value=event.new), "tab")
    link = pn.widgets.Button(label="Copy link", margin=0, css_classes=["plain"])
    link.js_on_click(code=COPY)
    plain = dict(css_classes=["plain"])
    return [
        pn.Row(
            tabs,
            pn.Spacer(sizing_mode="stretch_width"),
            status_word(status, stop_all),
            switch(state, "words", "Words", **plain),
            switch(state, "export", "Export", **plain),
            link,
            css_classes=["header"],
            sizing_mode="stretch_width",
            margin=0,
        )
    ]


def popover(state: ExplorerState, detail: str, make: Callable[[], pn.viewable.Viewable]) -> pn.Column:
    """Return what opens over the page, with a button that closes it."""
    close = pn.widgets.Button(label="Close", css_classes=["small", "close"], margin=0)
    close.on_click(held(lambda _: state.open(detail, False)))
    return pn.Column(
        close,
        when_open(state, detail, make),
        visible=pn.bind(lambda opened: detail in opened, state.param.details),
        css_classes=["popover"],
        margin=0,
    )
