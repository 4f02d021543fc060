"""A token connects a job with the page: the page cancels by it, the job reports its progress by it.

`token.check()` raises `Cancelled` once a newer request came. Work calls it between layers, batches and
images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Cancelled(Exception):
    """Raised in a job whose result is no longer wanted."""


def server_ends() -> bool:
    """Tell whether the server ends: whatever its threads still do may fail, and nobody waits for it."""
    return not threading.main_thread().is_alive()


class Token:
    """Tells a job whether it is still wanted, and the page how far it is."""

    def __init__(self, tell: Callable[[str, float | None], None] = lambda what, share: None):
        self._cancelled = False
        self.wanted = True  # False once a file was deleted that the result is of: store nothing then
        self.tell = tell

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted."""
        return self._cancelled or server_ends()

    def cancel(self) -> None:
        """Ask the job to stop at its next check."""
        self._cancelled = True

    def check(self) -> None:
        """Raise Cancelled if the result is no longer wanted."""
        if self.cancelled:
            raise Cancelled

    def progress(self, what: str, share: float) -> None:
        """Report the share done, 0 to 1, of what is being done; raises Cancelled as `check` does."""
        self.check()
        self.tell(what, share)
