"""Websockets that send each message at once, and all changes of a page in their order."""

import functools
from collections import deque
from collections.abc import Awaitable, Iterable

import panel.io.document
from bokeh.document import Document
from bokeh.document.events import DocumentPatchedEvent
from bokeh.server.connection import ServerConnection
from bokeh.server.views.ws import WSHandler
from tornado.ioloop import IOLoop


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


@functools.cache
def changes_in_order() -> None:
    """Send a browser all changes of its page in the order they were made, by one writer.

    Where the websocket is busy, Panel writes its own changes 10 ms later, and Bokeh does not wait for them.
    With `DocumentQueue`'s hold alone, which keeps the changes of one turn together, pages of a busy machine
    stayed at "Working" though the session was done: in 2 of about 60 openings.

    A message is made in the turn of its changes, never later: when a browser's change arrives, Bokeh takes
    all models of the page for known there, and a later message would only name those that it should bring.
    """
    ServerConnection.send_patch_document = _of_bokeh
    panel.io.document.write_events = panel.io.document.schedule_write_events = _of_panel


def _of_bokeh(connection: ServerConnection, event: DocumentPatchedEvent) -> Awaitable[None]:
    _collect(connection, [event])
    return _send(connection)  # awaited when the turn is over, still in it: the first one takes all


def _of_panel(
    document: Document, connections: Iterable[ServerConnection], events: list[DocumentPatchedEvent]
) -> None:
    for connection in connections:
        _collect(connection, events)
        _make_message(connection)
        IOLoop.current().spawn_callback(_send, connection)


def _collect(connection: ServerConnection, events: list[DocumentPatchedEvent]) -> None:
    vars(connection).setdefault("collected", []).extend(events)


def _make_message(connection: ServerConnection) -> None:
    if events := vars(connection).pop("collected", None):
        message = connection.protocol.create("PATCH-DOC", events)
        vars(connection).setdefault("unsent", deque()).append(message)


async def _send(connection: ServerConnection) -> None:
    _make_message(connection)
    unsent = vars(connection).get("unsent")
    while unsent:
        await connection._socket.send_message(unsent.popleft())
