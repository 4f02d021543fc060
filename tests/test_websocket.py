import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor

from bokeh.document import Document
from bokeh.models import Div
from bokeh.protocol import Protocol
from bokeh.server.connection import ServerConnection
from bokeh.server.session import ServerSession
from bokeh.server.views.ws import WSHandler

from explorer.websocket import page_before_changes, send_at_once


def test_no_frame_waits_for_an_acknowledgement(monkeypatch):
    class Handler:
        def __init__(self):
            self.done = []

        def set_nodelay(self, value):
            self.done.append(("nodelay", value))

    monkeypatch.setattr(WSHandler, "open", lambda self: self.done.append("opened"))
    send_at_once.__wrapped__()
    handler = Handler()
    WSHandler.open(handler)
    assert handler.done == [("nodelay", True), "opened"]


class Socket:
    """Where a server's messages to one browser go."""

    def __init__(self):
        self.sent = []

    async def send_message(self, message):
        self.sent.append(message.msgtype)


def test_a_change_before_the_page_is_in_the_page():
    page_before_changes()  # once a process, as the dashboard itself: a test before may have served that
    text, document, socket = Div(text="first"), Document(), Socket()
    document.add_root(text)
    session = ServerSession("one", document)
    connection = ServerConnection(Protocol(), socket, None, session)
    request = connection.protocol.create("PULL-DOC-REQ")
    change = functools.partial(session.with_document_locked, setattr, text, "text")

    async def visit():
        await change("second")
        assert not socket.sent
        page = await ServerSession.pull(request, connection)
        await change("third")
        return page

    with ThreadPoolExecutor() as pool:  # a browser's tests leave a loop running in the main thread
        page = pool.submit(asyncio.run, visit()).result()
    assert page.content["doc"]["roots"][0]["attributes"]["text"] == "second"
    assert socket.sent == ["PATCH-DOC"]
    connection.detach_session()
    assert session.connection_count == 0
