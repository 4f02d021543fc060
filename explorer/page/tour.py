"""Five questions, each with a state of the dashboard that answers it."""

from __future__ import annotations

from html import escape
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode


class Lesson(NamedTuple):
    """A question, its answer, which says where to look, and `query`, the link of the state."""

    question: str
    answer: str
    query: str


LESSONS = (
    Lesson(
        "Why can one range not serve all channels?",
        "Channels by spread: the widest reaches more than four times as far as the narrowest, so most levels "
        "of a common range lie where most channels have no values.",
        "?layer=body.0.body.0",
    ),
    Lesson(
        "What do chosen points gain over equal steps?",
        "At 3 bits chosen points keep more than 3 dB that min–max loses; min–max's error map shows grain.",
        '?tab=methods&activation_bits=3&methods=["dfsq-exact","minmax"]',
    ),
    Lesson(
        "Which layer would you keep float first?",
        "The first: quantized alone it does the most harm. Tap its bar and see the PSNR.",
        "?tab=layers&activation_bits=4",
    ),
    Lesson(
        "Can training repair what 2 bits break?",
        "Calibrated by DFSQ, the picture loses almost 3 dB; trained by ODM, less than half of that.",
        '?tab=methods&activation_bits=2&methods=["dfsq-exact","odm"]',
    ),
    Lesson(
        "What does the clip at the end of a mobile network do in INT8?",
        "Little: with the right representative images, the network without it scores within 0.1 dB.",
        "?tab=deployment&network=xlsr_x3",
    ),
)


def tour(search: str = "") -> str:
    """Write the questions as links, their answers folded until they are opened.

    search: of the page's address; the tour is open where that is one of the links, which is marked, and the
    links keep the address's theme.
    """
    arrived = dict(parse_qsl(search.removeprefix("?")))
    theme = {key: arrived.pop(key) for key in ("theme",) if key in arrived}
    here = [dict(parse_qsl(lesson.query.removeprefix("?"))) == arrived for lesson in LESSONS]
    keep = f"&{urlencode(theme)}" if theme else ""
    items = "".join(
        f"<li><a href='{escape(lesson.query + keep)}'{' aria-current=page' if at else ''}>"
        f"{escape(lesson.question)}</a>"
        f"<details><summary>Answer</summary>{escape(lesson.answer)}</details></li>"
        for lesson, at in zip(LESSONS, here, strict=True)
    )
    head = "<summary>Five questions to begin with</summary>"
    return f"<details class='tour'{' open' if any(here) else ''}>{head}<ol>{items}</ol></details>"
