"""Answers to the browser leave at once, and in order."""

import functools
from collections.abc import Awaitable

from bokeh.protocol.message import Message
from bokeh.server.connection import ServerConnection
from bokeh.server.session import ServerSession
from bokeh.server.views.ws import WSHandler


@functools.cache
def send_at_once() -> None:
    """Turn off Nagle's algorithm on every websocket of this server.

    Bokeh writes a message as several small frames, and with it each message waits until the browser's system
    has acknowledged the first of them: 40 ms on Linux, twice or more between a slider and its figures.
    """
    opened = WSHandler.open

    def open_without_delay(handler: WSHandler) -> None:
        handler.set_nodelay(True)
        opened(handler)

    WSHandler.open = open_without_delay


@functools.cache
def page_before_changes() -> None:
    """Send a browser no change of the page before the page itself.

    Bokeh tells a connection of changes from its opening on, and the browser asks for the page a moment later.
    What changed in between is in that page; applied once more it met models that were gone ("reference isn't
    known"), and a change that came before the greeting closed the connection.
    """
    subscribe = ServerSession.subscribe

    def reply(message: Message, connection: ServerConnection) -> Message:
        subscribe(connection.session, connection)
        return connection.protocol.create(
            "PULL-DOC-REPLY", message.header["msgid"], connection.session.document
        )

    def pull(message: Message, connection: ServerConnection) -> Awaitable[Message]:
        return connection.session.with_document_locked(reply, message, connection)

    ServerSession.subscribe = lambda session, connection: None
    ServerSession.pull = staticmethod(pull)
