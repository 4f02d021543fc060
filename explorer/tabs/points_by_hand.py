"""Points chosen by hand: snapped to the set, checked, and kept in the state; and their widgets."""

from __future__ import annotations

import re
from collections.abc import Callable

import panel as pn

from explorer.choices.state import FROM_SUBSET, SNAPS, ExplorerState
from explorer.page.sections import TOGGLE, html
from explorer.server.document_queue import held

FEWEST = 2
HINT = (
    "In the histogram: drag a point, tap an empty place to add one, tap a point and press Backspace to "
    "delete it. Or type all points. Error and picture follow."
)


class ByHand:
    """The points by hand; `complain(sentence)` shows an error, an empty sentence takes it back."""

    def __init__(self, state: ExplorerState, complain: Callable[[str], None]):
        self.state, self._complain = state, complain

    def place(self, values: list[float]) -> list[float] | None:
        """Snap `values` and keep them; return the points, None if they are invalid."""
        state, chosen = self.state, self.state.candidates()
        if not all(abs(value) <= 1 for value in values):
            self._complain("Points must lie between -1 and 1")
            return None
        points = chosen.snap(values, state.snap == "grid")
        bits = state.own_bits(state.layer)[1]
        most = 2**bits
        if len(points) > most:
            self._complain(
                f"{bits} bits allow {most} points, and these are {len(points)}: "
                "delete some, or choose more bits"
            )
            return None
        if len(points) < FEWEST:
            self._complain(f"At least {FEWEST} points are needed")
            return None
        self._complain("")
        state.hand = points
        return [point * chosen.step for point in points]

    def read(self, text: str) -> None:
        """Read points that a person typed as numbers between commas or spaces."""
        try:
            values = [float(word) for word in re.split(r"[\s,;]+", text.replace("−", "-").strip()) if word]
        except ValueError:
            self._complain("Type points as numbers between commas, as in -0.5, 0, 0.5")
            return
        self.place(values)

    def written(self) -> str:
        """Write the points by hand as `read` reads them."""
        step = self.state.universal_set().step
        return ", ".join(f"{point * step:.6g}" for point in self.state.by_hand())

    def reset(self) -> None:
        """Return to the selector's points."""
        self._complain("")
        self.state.hand = []


def by_hand(state: ExplorerState, hand: ByHand) -> pn.Column:
    """Make the widgets; they show only for methods whose points come from the universal set."""
    p = state.param
    small = dict(margin=(0, 8))
    reset = pn.widgets.Button(
        label="Reset points", disabled=p.hand.rx.not_(), width=150, margin=(18, 8, 0, 8)
    )
    reset.on_click(held(lambda _: hand.reset()))
    written = pn.widgets.TextInput(
        label="All points",
        value=hand.written(),
        placeholder="-1, -0.25, 0, 0.25, 1",
        width=230,
        **small,
    )
    written.param.watch(lambda event: event.new != hand.written() and hand.read(event.new), "value")
    p.watch(lambda _: written.param.update(value=hand.written()), "hand")
    snap = pn.widgets.RadioButtonGroup.from_param(
        p.snap, options={name: key for key, name in SNAPS.items()}, **TOGGLE
    )
    scope = pn.widgets.RadioButtonGroup.from_param(
        p.hand_layer, options={"this channel": False, "all channels of the layer": True}, **TOGGLE
    )
    return pn.Column(
        pn.FlexBox(
            pn.Column(html("<label>Snap to</label>", **small), snap, margin=(0, 8)),
            pn.Column(html("<label>Apply to</label>", **small), scope, margin=(0, 8)),
            written,
            reset,
            margin=0,
        ),
        html(f"<p class='note'>{HINT}</p>", margin=(0, 8), sizing_mode="stretch_width"),
        visible=p.method.rx().rx.in_(FROM_SUBSET),
        sizing_mode="stretch_width",
        margin=(8, 0, 0, 0),
    )
