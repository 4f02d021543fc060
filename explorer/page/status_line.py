"""The status: a word and a thin line for what is being computed, and errors."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import panel as pn

from explorer.choices.status import Status
from explorer.page.sections import html
from explorer.server.document_queue import held

PATIENCE = 0.3  # seconds: a word that is gone sooner is not worth the change


def status_word(status: Status, stop_all: Callable[[], None]) -> pn.Row:
    """Make what is being computed, with a thin line below the header, and the button that stops it."""

    def progress(busy: dict, stopped: bool) -> str:
        if not busy:
            text = "Stopped. Change any setting to continue." if stopped else "Ready"
            return f"<div class='now'><i></i><span>{text}</span></div>"
        # A job that has begun, if any; else one that waits for its turn.
        what, share = max(busy.values(), key=lambda job: (bool(job[0]) and job[1] is not None, bool(job[0])))
        percent = round(100 * (share or 0))
        text = (
            f"{escape(what)} … {percent} %"
            if what and share is not None
            else f"{escape(what) or 'Working'} …"
        )
        line = f"<div class='line' style='width:{percent}%'></div>"
        late = f"animation-delay:{max(0.0, PATIENCE - status.seconds()):.2f}s"
        return f"<div class='now busy' style='{late}'><i></i><span>{text}</span>{line}</div>"

    stop = pn.widgets.Button(
        label="Stop",
        disabled=status.param.busy.rx.not_(),
        width=52,
        margin=(0, 0, 0, 6),
        css_classes=["stop"],
    )
    stop.on_click(held(lambda _: stop_all()))
    return pn.Row(
        pn.pane.HTML(
            pn.bind(progress, status.param.busy, status.param.stopped), css_classes=["word"], margin=0
        ), stop, margin=0,
        css_classes=["status"],
    )  # fmt: skip


def error_list(status: Status) -> pn.pane.HTML:
    """Make the sentences of all errors."""

    def errors(found: dict) -> str:
        return "".join(
            f"<div class='error' role='alert'>{escape(sentence)}</div>"
            for sentence in dict.fromkeys(found.values())
        )

    return html(pn.bind(errors, status.param.errors), sizing_mode="stretch_width", margin=0)
