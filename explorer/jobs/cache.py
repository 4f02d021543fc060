"""A cache shared by all sessions: equal work runs once, and its results are kept."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Hashable
from typing import Any

import cachetools

from explorer.jobs.token import Cancelled, Token

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # `log_size` is for who runs the server
HEAVY = threading.Semaphore(2)
LARGE = 1e6  # bounds from here on are in bytes, not in entries
_large: list[cachetools.LRUCache] = []
_logged = 0.0  # MiB in the last line of the log


class _InFlight(Token):
    """A computation under way for several callers, wanted while one of their tokens is; it reports to all."""

    def __init__(self):
        super().__init__(self._report)
        self.tokens: list[Token] = []
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    @property
    def cancelled(self) -> bool:
        return all(token.cancelled for token in self.tokens)

    def _report(self, what: str, share: float | None) -> None:
        for token in self.tokens:
            if not token.cancelled:
                token.tell(what, share)


_forgetters: list[Callable[[str], None]] = []


def forget(name: str) -> None:
    """Drop everything whose key holds `name`, from all caches, and do not keep what is under way."""
    for call in _forgetters:
        call(name)


def log_size() -> None:
    """Log the size of the caches when it has changed by 50 MiB, so that the server's memory is explained."""
    global _logged
    held = sum(cache.currsize for cache in _large) / 2**20
    if abs(held - _logged) >= 50:
        _logged = held
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


def shared(
    max_size: float,
    size: Callable[[Any], float] = lambda value: 1,
    heavy: bool = False,
    as_key: Callable[..., tuple] = lambda *key: key,
):
    """Cache `f(*key, token)` by its plain, hashable key, over all sessions, bounded by `max_size`.

    Equal questions asked at once are answered by one computation, which stops only when nobody waits for
    it any more. Results are shared: treat them as read-only. Errors are raised to every waiter, not cached.
    A `heavy` one waits for its turn; it must not ask for another heavy one. as_key: a NamedTuple whose
    defaults stand for arguments that are left out, so that one question has one key.
    """

    def decorate(f):
        cache: cachetools.LRUCache = cachetools.LRUCache(max_size, getsizeof=size)
        if max_size >= LARGE:
            _large.append(cache)
        running: dict[Hashable, _InFlight] = {}
        lock = threading.Lock()

        @functools.wraps(f)
        def call(*arguments, token: Token | None = None):
            key, token = as_key(*arguments), token or Token()
            while True:
                token.check()
                with lock:
                    if key in cache:
                        return cache[key]
                    flight = running.get(key)
                    leader = flight is None
                    if leader:
                        flight = running[key] = _InFlight()
                    flight.tokens.append(token)
                if leader:
                    return compute(key, flight)
                while not flight.done.wait(0.05):
                    token.check()
                if flight.error is None:
                    return flight.value
                if not isinstance(flight.error, Cancelled):
                    raise flight.error
                # It was cancelled before our token was added: ask again.

        def compute(key, flight: _InFlight):
            try:
                with _turn(flight) if heavy else contextlib.nullcontext():
                    flight.value = f(*key, token=flight)
                with lock:
                    if flight.wanted and size(flight.value) <= max_size:
                        cache[key] = flight.value
                return flight.value
            except BaseException as error:
                flight.error = error
                raise
            finally:
                with lock:
                    del running[key]
                flight.done.set()

        def known(*arguments) -> bool:
            with lock:
                return as_key(*arguments) in cache

        def drop(name: str) -> None:
            with lock:
                for key in [key for key in cache if _holds(key, name)]:
                    del cache[key]
                for key, flight in running.items():
                    flight.wanted = flight.wanted and not _holds(key, name)

        def remember(*arguments, value) -> None:
            """Store a result that came another way, unless it is there."""
            with lock:
                cache.setdefault(as_key(*arguments), value)

        _forgetters.append(drop)
        call.cache, call.known, call.remember = cache, known, remember
        return call

    return decorate
