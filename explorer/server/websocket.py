"""Websockets that send each message at once."""

import functools
from collections.abc import Awaitable

from bokeh.server.views.ws import WSHandler


@functools.cache
def send_at_once() -> None:
    """Turn off Nagle's algorithm on every websocket of this server.

    Bokeh writes a message as several small frames, and with it each message waits until the browser's system
    has acknowledged the first of them: 40 ms on Linux, twice or more between a slider and its figures.
    """
    opened = WSHandler.open

    def open_without_delay(handler: WSHandler) -> Awaitable[None] | None:
        handler.set_nodelay(True)
        return opened(handler)

    WSHandler.open = open_without_delay
