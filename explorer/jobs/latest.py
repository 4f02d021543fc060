"""Heavy work in threads: the latest request wins, older ones are cancelled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from explorer.jobs.cache import log_size
from explorer.jobs.fair_pool import FairPool
from explorer.jobs.token import Cancelled, Token, server_ends

log = logging.getLogger(__name__)
# Quick answers do not queue behind slow ones: a thread that waits for another's computation costs nothing, so
# there are many, and of the heavy computations only two go on at once.
QUICK, SLOW = FairPool(24, 2, "quick"), FairPool(2, 1, "slow", nice=10)


class LatestWins:
    """Runs one output's jobs in threads; a newer job cancels the older and stale results are dropped.

    `on_document` schedules a call on the session's document; every callback goes through it. Runners that
    share it are one visitor's, who takes turns with others in the pool.
    """

    def __init__(self, on_document: Callable[[Callable[[], None]], None], pool: FairPool = QUICK):
        self._on_document, self._pool = on_document, pool
        self._token = Token()

    def submit(
        self,
        work: Callable[[Token, Callable[[Any], None]], None],
        show: Callable[[Any], None],
        fail: Callable[[str], None],
        progress: Callable[[str, float | None], None],
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        """Run `work(token, emit)`; each `emit(result)` ends as `show(result)` on the document.

        A ValueError ends as `fail(sentence)`, any other error as a general sentence and a log entry.
        The share that `progress(what, share)` is told is None while the job waits for its turn.
        """
        self.cancel()
        token = self._token = Token(lambda *args: self._deliver(token, progress, *args))

        def run() -> None:
            try:
                token.check()
                work(token, lambda result: self._deliver(token, show, result))
            except Cancelled:
                return
            except ValueError as error:
                self._deliver(token, fail, str(error))
            except Exception:
                if server_ends():
                    return
                log.exception("a job failed")
                self._deliver(token, fail, "This could not be computed; the server's log says why.")
            finally:
                log_size()
            self._deliver(token, finish)

        self._pool.submit(self._on_document, token, run)

    def cancel(self) -> None:
        """Cancel the job under way; nothing of it is shown any more."""
        self._token.cancel()

    def _deliver(self, token: Token, callback: Callable, *args) -> None:
        def if_current() -> None:
            if not token.cancelled:
                callback(*args)

        if not token.cancelled:
            self._on_document(if_current)
