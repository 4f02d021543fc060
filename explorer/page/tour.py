"""What to try next: a sentence, then five questions, each with the choices that answer it."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

import panel as pn

from explorer.choices.state import EXPLORE, ExplorerState
from explorer.choices.url import restore
from explorer.page.sections import TOGGLE, html
from explorer.server.document_queue import held

# What to try first, by tab; elsewhere the questions.
FIRST = {
    EXPLORE: "pull the activation bits from 4 to 2. Four points must then do for a histogram that needs "
    "sixteen, and the picture gets a grain.",
    "methods": "tick another method, then tap its small picture: it is shown large, with its difference.",
    "layers": "tap the longest bar: that layer stays float, and the PSNR says what it had cost.",
    "sweep": "press Select by a box and drag one around the best dots: all figures show which they are.",
}


class Lesson(NamedTuple):
    """A question, its answer, which says where to look, and `query`, the choices, as a link has them."""

    question: str
    answer: str
    query: str


LESSONS = (
    Lesson(
        "Why can one range not serve all channels?",
        "Open Channels by spread below the pictures: the widest reaches more than four times as far as the "
        "narrowest, so most levels of a common range lie where most channels have no values.",
        '?network=edsr_x2&tab=explore&layer=body.0.body.0&details=["spread"]',
    ),
    Lesson(
        "What do chosen points gain over equal steps?",
        "At 3 bits chosen points keep more than 3 dB that min–max loses; min–max's error map shows grain.",
        '?network=edsr_x2&tab=methods&activation_bits=3&methods=["dfsq-exact","minmax"]',
    ),
    Lesson(
        "Which layer would you keep float first?",
        "The first: quantized alone it does the most harm. Tap its bar and see the PSNR.",
        "?network=edsr_x2&tab=layers&activation_bits=4&layer=body.0.body.0",
    ),
    Lesson(
        "Can training repair what 2 bits break?",
        "Calibrated by DFSQ, the picture loses almost 3 dB; trained by ODM, less than a quarter of that.",
        '?network=edsr_x2&tab=methods&activation_bits=2&methods=["dfsq-exact","odm"]',
    ),
    Lesson(
        "What does the clip at the end of a mobile network do in INT8?",
        "Little: with the right representative images, the network without it scores within 0.1 dB.",
        "?network=xlsr_x3&tab=deployment",
    ),
)


def tour(state: ExplorerState) -> pn.Column:
    """Make the card; the next question sets its choices in place, so that nothing else is lost."""
    text = html(_text(state), sizing_mode="stretch_width", margin=0)
    small = dict(margin=(4, 4, 0, 0), css_classes=["small"], **TOGGLE)
    ahead = pn.widgets.Button(label=_ahead(state.lesson), **small)
    back = pn.widgets.Button(label="Back", visible=state.lesson > 0, **small)

    def go(number: int) -> None:
        state.lesson = number
        if number:
            restore(state, LESSONS[number - 1].query)

    @held
    def follow(*_) -> None:
        text.object = _text(state)
        ahead.label = _ahead(state.lesson)
        back.visible = state.lesson > 0

    ahead.on_click(held(lambda _: go((state.lesson + 1) % (len(LESSONS) + 1))))
    back.on_click(held(lambda _: go(max(state.lesson - 1, 0))))
    state.param.watch(follow, ["lesson", "tab"])
    return pn.Column(
        text, pn.Row(ahead, back, margin=0), css_classes=["tour"], sizing_mode="stretch_width", margin=(8, 8)
    )


def _text(state: ExplorerState) -> str:
    number = state.lesson
    if not number:
        return f"<p><b>Try:</b> {FIRST.get(state.tab, 'the five questions.')}</p>"
    lesson = LESSONS[number - 1]
    return (
        f"<p><small>Question {number} of {len(LESSONS)}</small><br><b>{escape(lesson.question)}</b></p>"
        f"<details><summary>Answer</summary><p>{escape(lesson.answer)}</p></details>"
    )


def _ahead(number: int) -> str:
    return ("Five questions", *["Next question"] * (len(LESSONS) - 1), "Finish")[number]
