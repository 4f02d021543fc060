"""Points that a person chooses: snapped, counted, and kept in the state."""

from __future__ import annotations

import re
from collections.abc import Callable

from explorer.choices.state import ExplorerState

FEWEST = 2


class ByHand:
    """`complain(sentence)` says why a choice cannot be; an empty one takes it back."""

    def __init__(self, state: ExplorerState, complain: Callable[[str], None]):
        self.state, self._complain = state, complain

    def place(self, values: list[float]) -> list[float] | None:
        """Take `values`, snapped; what they became, None if they cannot be."""
        state, chosen = self.state, self.state.candidates()
        if not all(abs(value) <= 1 for value in values):
            self._complain("points lie between -1 and 1")
            return None
        points = chosen.snap(values, state.snap == "grid")
        most = 2**state.activation_bits
        if len(points) > most:
            self._complain(
                f"{state.activation_bits} bits tell {most} points apart and these are {len(points)}: "
                "delete some, or take more bits"
            )
            return None
        if len(points) < FEWEST:
            self._complain(f"at least {FEWEST} points are needed")
            return None
        self._complain("")
        state.hand = points
        return [point * chosen.step for point in points]

    def read(self, text: str) -> None:
        """The points that a person wrote, as numbers between commas or spaces."""
        try:
            values = [float(word) for word in re.split(r"[\s,;]+", text.replace("−", "-").strip()) if word]
        except ValueError:
            self._complain("Points are written as numbers between commas, as in -0.5, 0, 0.5")
            return
        self.place(values)

    def written(self) -> str:
        """The points by hand as `read` takes them."""
        step = self.state.universal_set().step
        return ", ".join(f"{point * step:.6g}" for point in self.state.by_hand())

    def reset(self) -> None:
        """Back to the selector's."""
        self._complain("")
        self.state.hand = []
