"""A queue for changes of a page from any thread, in the order they are made."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import panel as pn
from tornado.ioloop import IOLoop

# Without a server calls come from many threads, and HoloViews makes its classes writable while it copies.
ONE_AT_A_TIME = threading.RLock()
SENT = 0.02  # seconds: long enough for a message, whose frames are each written in a turn of the loop


class DocumentQueue:
    """Call it to queue a call on the document; without a server the call is made at once, one at a time."""

    def __init__(self):
        self._document = pn.state.curdoc
        self._loop = IOLoop.current() if self._document is not None else None
        self._over = False

    def __call__(self, call: Callable[[], None]) -> None:
        """Queue a call, from any thread.

        (Of the document's own methods none is safe there: while it holds back changes, a callback that
        another thread adds can be lost.)
        """
        if self._document is None:
            with ONE_AT_A_TIME:
                call()
        else:
            self._loop.add_callback(self._schedule, call)

    def once_sent(self, call: Callable[[], None]) -> None:
        """Queue a call that takes long, from the document's thread: earlier changes are sent before it."""
        if self._document is None:
            self(call)
        else:
            self._loop.call_later(SENT, self._schedule, call)

    def end(self) -> None:
        """Drop all calls from now on: the page is gone."""
        self._over = True

    def _schedule(self, call: Callable[[], None]) -> None:
        if not self._over:
            self._document.add_next_tick_callback(functools.partial(self._send_together, call))

    def _send_together(self, call: Callable[[], None]) -> None:
        with pn.io.hold(self._document):
            call()


def held(callback: Callable) -> Callable:
    """Wrap what a widget or a tap calls, so that the browser gets all that it changes as one message.

    Bokeh sends what changed on its models when the turn is over, Panel what changed on its own at once: a
    change of a new model overtook the message that brought the model ("reference isn't known").
    """

    @functools.wraps(callback)
    def together(*args: object) -> object:
        with pn.io.hold(pn.state.curdoc):
            return callback(*args)

    return together
