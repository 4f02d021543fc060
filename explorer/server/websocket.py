"""Answers to the browser leave at once, whole, and in order."""

import functools
from collections.abc import Awaitable, Iterable

import panel.io.document
from bokeh.document import Document
from bokeh.document.events import DocumentPatchedEvent
from bokeh.protocol.message import Message
from bokeh.server.connection import ServerConnection
from bokeh.server.session import ServerSession
from bokeh.server.views.ws import WSHandler
from tornado.ioloop import IOLoop


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


@functools.cache
def changes_in_order() -> None:
    """Send a browser all changes of its page in the order they were made, those of one turn as one message.

    Bokeh makes a message of each property that changes, going through all models of the page for each, and
    sends it when the turn of the session is over; Panel sends its own at once, or 10 ms later where the
    websocket is busy: a change of a new model overtook the message that brought the model ("reference isn't
    known"), an old text the new one.
    """

    async def write(connection: ServerConnection) -> None:
        if events := vars(connection).pop("unsent", None):
            await connection._socket.send_message(connection.protocol.create("PATCH-DOC", events))

    def of_bokeh(connection: ServerConnection, event: DocumentPatchedEvent) -> Awaitable[None]:
        vars(connection).setdefault("unsent", []).append(event)
        return write(connection)  # awaited when the turn is over: the first one takes all

    def of_panel(
        document: Document, connections: Iterable[ServerConnection], events: list[DocumentPatchedEvent]
    ) -> None:
        for connection in connections:
            vars(connection).setdefault("unsent", []).extend(events)
            IOLoop.current().spawn_callback(write, connection)

    ServerConnection.send_patch_document = of_bokeh
    panel.io.document.write_events = panel.io.document.schedule_write_events = of_panel
