"""The status line: what is being computed, its progress, and errors."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import panel as pn

from explorer.choices.status import Status
from explorer.page.sections import html


def status_line(status: Status, stop_all: Callable[[], None]) -> pn.Column:
    """Make the progress bar, the button that stops all, and the errors."""

    def progress(busy: dict, stopped: bool) -> str:
        if not busy:
            text = "Stopped. Change any setting to continue." if stopped else "Ready"
            return f"<div class='progress'><div class='bar' style='width:0'></div><span>{text}</span></div>"
        # A job that has begun, if any; else one that waits for its turn.
        what, share = max(busy.values(), key=lambda job: (bool(job[0]) and job[1] is not None, bool(job[0])))
        percent = round(100 * (share or 0))
        if share is None or not what:
            label = f"<span class='late'>{escape(what) or 'Working'} …</span>"
        else:
            label = f"<span>{escape(what)} … {percent} %</span>"
        return f"<div class='progress'><div class='bar' style='width:{percent}%'></div>{label}</div>"

    def errors(found: dict) -> str:
        return "".join(
            f"<div class='error'>{escape(sentence)}</div>" for sentence in dict.fromkeys(found.values())
        )

    stop = pn.widgets.Button(
        label="Stop",
        disabled=status.param.busy.rx.not_(),
        width=56,
        margin=(0, 0, 0, 8),
        css_classes=["stop"],
    )
    stop.on_click(lambda _: stop_all())
    return pn.Column(
        pn.Row(
            html(
                pn.bind(progress, status.param.busy, status.param.stopped),
                sizing_mode="stretch_width",
                margin=0,
                height=22,
            ),
            stop,
            sizing_mode="stretch_width",
            margin=0,
        ),
        html(pn.bind(errors, status.param.errors), sizing_mode="stretch_width", margin=0),
        sizing_mode="stretch_width",
        css_classes=["status"],
    )
