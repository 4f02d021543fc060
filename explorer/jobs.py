"""Heavy work off the event loop: the latest request wins, stale ones stop, shared work runs once.

A `Token` is the thread's view of its job: `token.check()` raises `Cancelled` once a newer request came.
Work calls it between layers, batches and images.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Hashable
from typing import Any

import cachetools

from explorer.fair_pool import FairPool
from explorer.memory import give_back

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # `tell_held` is for who runs the server
# Quick answers do not queue behind slow ones: a thread that waits for another's computation costs nothing, so
# there are many, and of the heavy computations only two go on at once.
QUICK, SLOW = FairPool(24, 2, "quick"), FairPool(2, 1, "slow", nice=10)
HEAVY = threading.Semaphore(2)
LARGE = 1e6  # a bound that is in bytes, not in entries
_large: list[cachetools.LRUCache] = []
_told = 0.0  # MiB, at the last time that the log heard of it


class Cancelled(Exception):
    """Nobody waits for this work any more."""


class Token:
    """Tells a job whether it is still wanted, and the page how far it is."""

    def __init__(self, tell: Callable[[str, float | None], None] = lambda what, share: None):
        self._cancelled = False
        self.tell = tell

    @property
    def cancelled(self) -> bool:
        return self._cancelled or not threading.main_thread().is_alive()  # the server ends

    def cancel(self) -> None:
        self._cancelled = True

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled

    def progress(self, what: str, share: float) -> None:
        """Report the share done, 0 to 1, of what is being done; raises Cancelled as `check` does."""
        self.check()
        self.tell(what, share)


class _Flight(Token):
    """A computation under way, wanted while one of the tokens on board is; it tells all of them."""

    def __init__(self):
        super().__init__(self._tell_all)
        self.tokens: list[Token] = []
        self.landed = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self.kept = True  # whether its value goes into the cache

    @property
    def cancelled(self) -> bool:
        return all(token.cancelled for token in self.tokens)

    def _tell_all(self, what: str, share: float | None) -> None:
        for token in self.tokens:
            if not token.cancelled:
                token.tell(what, share)


_forgetters: list[Callable[[str], None]] = []


def forget(name: str) -> None:
    """Drop everything whose key holds `name`, from all caches, and do not keep what is under way."""
    for call in _forgetters:
        call(name)


def tell_held() -> None:
    """Log what the caches hold when it has changed by much: what the memory of the server is for."""
    global _told
    held = sum(cache.currsize for cache in _large) / 2**20
    if abs(held - _told) >= 50:
        _told = held
        log.info("the caches hold %.0f MiB", held)


def _holds(key: Hashable, name: str) -> bool:
    return key == name or (isinstance(key, tuple) and any(_holds(part, name) for part in key))


@contextlib.contextmanager
def _turn(token: Token):
    while not HEAVY.acquire(timeout=0.05):
        token.check()
    try:
        yield
    finally:
        HEAVY.release()


def shared(max_size: float, size: Callable[[Any], float] = lambda value: 1, heavy: bool = False):
    """Cache `f(*key, token)` by its plain, hashable key, over all sessions, bounded by `max_size`.

    Equal questions asked at once are answered by one computation, which stops only when nobody waits for
    it any more. Results are shared: treat them as read-only. Errors are raised to every waiter, not cached.
    A `heavy` one waits for its turn; it must not ask for another heavy one.
    """

    def decorate(f):
        cache: cachetools.LRUCache = cachetools.LRUCache(max_size, getsizeof=size)
        if max_size >= LARGE:
            _large.append(cache)
        flights: dict[Hashable, _Flight] = {}
        lock = threading.Lock()

        @functools.wraps(f)
        def call(*key, token: Token | None = None):
            token = token or Token()
            while True:
                token.check()
                with lock:
                    if key in cache:
                        return cache[key]
                    flight = flights.get(key)
                    pilot = flight is None
                    if pilot:
                        flight = flights[key] = _Flight()
                    flight.tokens.append(token)
                if pilot:
                    return fly(key, flight)
                while not flight.landed.wait(0.05):
                    token.check()
                if flight.error is None:
                    return flight.value
                if not isinstance(flight.error, Cancelled):
                    raise flight.error
                # The pilot left before we boarded: ask again.

        def fly(key, flight: _Flight):
            try:
                with _turn(flight) if heavy else contextlib.nullcontext():
                    flight.value = f(*key, token=flight)
                with lock:
                    if flight.kept and size(flight.value) <= max_size:
                        cache[key] = flight.value
                return flight.value
            except BaseException as error:
                flight.error = error
                raise
            finally:
                with lock:
                    del flights[key]
                flight.landed.set()

        def known(*key) -> bool:
            with lock:
                return key in cache

        def drop(name: str) -> None:
            with lock:
                for key in [key for key in cache if _holds(key, name)]:
                    del cache[key]
                for key, flight in flights.items():
                    flight.kept = flight.kept and not _holds(key, name)

        _forgetters.append(drop)
        call.cache, call.known = cache, known
        return call

    return decorate


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
                log.exception("a job failed")
                self._deliver(token, fail, "This could not be computed; the server's log says why.")
            finally:
                give_back()
                tell_held()
            self._deliver(token, finish)

        self._pool.submit(self._on_document, token, run)

    def cancel(self) -> None:
        self._token.cancel()

    def _deliver(self, token: Token, callback: Callable, *args) -> None:
        def if_current() -> None:
            if not token.cancelled:
                callback(*args)

        if not token.cancelled:
            self._on_document(if_current)
