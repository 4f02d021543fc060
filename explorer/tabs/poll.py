"""A call once a second, to follow a child process."""

from __future__ import annotations

from collections.abc import Callable

import panel as pn

PERIOD = 1000  # ms


class Poll:
    """Calls `look` on the document once a second from `start` to `stop`; both may be called twice."""

    def __init__(self, look: Callable[[], None]):
        self._look, self._callback = look, None

    @property
    def running(self) -> bool:
        """Whether it is started."""
        return self._callback is not None

    def start(self) -> None:
        """Start the calls."""
        if self._callback is None:
            self._callback = pn.state.add_periodic_callback(self._look, period=PERIOD)

    def stop(self) -> None:
        """Stop the calls."""
        if self._callback is not None:
            self._callback.stop()
            self._callback = None
