"""Threads that visitors share fairly: they take turns, however many jobs one of them has."""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable

from explorer.jobs.token import Token, server_ends

log = logging.getLogger(__name__)
MIN_REPORT_INTERVAL = 3.0  # seconds between two reports of a job's place


@dataclasses.dataclass(eq=False)
class _Job:
    token: Token
    run: Callable[[], None]
    reported: tuple[int, float] = (0, 0.0)  # its place in the queue as last reported, and when


class FairPool:
    """`threads` threads, at most `share` of them for one visitor, which give way to the others by `nice`.

    Jobs of one visitor start in their order, visitors take turns. A job that is cancelled before its turn
    never starts; one that waits tells its token how many will start before it.
    """

    def __init__(self, threads: int, share: int, name: str, nice: int = 0):
        self._threads, self._share, self._name = threads, share, f"explorer-{name}"
        self._nice, self._lock = nice, threading.Lock()
        self._alive = 0  # threads; one ends when there is nothing to do, so that none holds up the end
        self._waiting: dict[Hashable, collections.deque[_Job]] = {}  # visitors in the order of their turns
        self._running: collections.Counter[Hashable] = collections.Counter()

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._alive

    def submit(self, visitor: Hashable, token: Token, run: Callable[[], None]) -> None:
        """Queue a job of a visitor, and start a thread for it if there may be one more."""
        with self._lock:
            self._waiting.setdefault(visitor, collections.deque()).append(_Job(token, run))
            needed = self._alive < self._threads
            self._alive += needed
        if needed:
            threading.Thread(target=self._work, name=self._name).start()
        self._tell_places()

    def _work(self) -> None:
        """Run jobs until none may start.

        A job over its visitor's limit is started by the thread that finishes the visitor's current job.
        """
        if sys.platform == "linux":  # where threads have priorities of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + self._nice)
        while (found := self._next()) is not None:
            visitor, job = found
            try:
                self._tell_places()
                job.run()
            except Exception:
                if not server_ends():
                    log.exception("a job failed")  # the thread goes on with the next
            finally:
                with self._lock:
                    self._running[visitor] -= 1
                    if not self._running[visitor]:
                        del self._running[visitor]  # it would keep the visitor's page alive

    def _next(self) -> tuple[Hashable, _Job] | None:
        with self._lock:
            self._forget_cancelled()
            for visitor, jobs in self._waiting.items():
                if self._running[visitor] < self._share:
                    self._running[visitor] += 1
                    # To the end of the turns.
                    del self._waiting[visitor]
                    job = jobs.popleft()
                    if jobs:
                        self._waiting[visitor] = jobs
                    return visitor, job
            self._alive -= 1
        return None

    def _forget_cancelled(self) -> None:
        wanted = {
            visitor: collections.deque(job for job in jobs if not job.token.cancelled)
            for visitor, jobs in self._waiting.items()
        }
        self._waiting = {visitor: jobs for visitor, jobs in wanted.items() if jobs}

    def _tell_places(self) -> None:
        """Report their place to waiting jobs whose place has changed, while all threads are busy."""
        now, news = time.monotonic(), []
        with self._lock:
            self._forget_cancelled()
            if self._running.total() < self._threads:
                return
            for turn, visitor in enumerate(self._waiting):
                for round_, job in enumerate(self._waiting[visitor]):
                    place = self._place(turn, round_)
                    if place not in (0, job.reported[0]) and now - job.reported[1] >= MIN_REPORT_INTERVAL:
                        job.reported = (place, now)
                        news.append((job, place))
        for job, place in news:
            jobs = "job" if place == 1 else "jobs"
            job.token.tell(f"Waiting: {place} {jobs} ahead of yours", None)

    def _place(self, turn: int, round_: int) -> int:
        """Count the jobs that start before job number `round_` of the visitor at `turn`."""
        others = enumerate(self._waiting.values())
        return round_ + sum(min(len(jobs), round_ + (i < turn)) for i, jobs in others if i != turn)
