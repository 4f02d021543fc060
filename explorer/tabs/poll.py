"""A look, once a second, at what a process of its own does."""

from __future__ import annotations

from collections.abc import Callable

import panel as pn

PERIOD = 1000  # ms


class Poll:
    """Calls `look` on the page's turn, again and again from `start` to `stop`; both may come twice."""

    def __init__(self, look: Callable[[], None]):
        self._look, self._callback = look, None

    @property
    def running(self) -> bool:
        """Whether it looks."""
        return self._callback is not None

    def start(self) -> None:
        """Begin to look."""
        if self._callback is None:
            self._callback = pn.state.add_periodic_callback(self._look, period=PERIOD)

    def stop(self) -> None:
        """Look no more."""
        if self._callback is not None:
            self._callback.stop()
            self._callback = None
