import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from bokeh.document import Document
from bokeh.models import Column, Div
from bokeh.protocol import Protocol
from bokeh.server.connection import ServerConnection
from bokeh.server.session import ServerSession
from bokeh.server.views.ws import WSHandler
from panel.io.document import unlocked
from panel.io.state import set_curdoc, state
from panel.reactive import Syncable

from explorer.server.websocket import changes_in_order, page_before_changes, send_at_once


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
        self.sent.append(message)


def browse(document, visit):
    """What `visit(change, pull, sent)` returns, and all that its browser was sent apart from the page."""
    page_before_changes()  # once a process, as the dashboard itself: a test before may have served that
    changes_in_order()
    socket = Socket()
    session = ServerSession("one", document)
    connection = ServerConnection(Protocol(), socket, None, session)
    request = connection.protocol.create("PULL-DOC-REQ")
    pull = functools.partial(ServerSession.pull, request, connection)
    with ThreadPoolExecutor() as pool:  # a browser's tests leave a loop running in the main thread
        result = pool.submit(asyncio.run, visit(session.with_document_locked, pull, socket.sent)).result()
    connection.detach_session()
    assert session.connection_count == 0
    return result, socket.sent


def test_a_change_before_the_page_is_in_the_page():
    text, document = Div(text="first"), Document()
    document.add_root(text)

    async def visit(change, pull, sent):
        await change(setattr, text, "text", "second")
        assert not sent
        page = await pull()
        await change(setattr, text, "text", "third")
        return page

    page, sent = browse(document, visit)
    assert page.content["doc"]["roots"][0]["attributes"]["text"] == "second"
    assert [message.msgtype for message in sent] == ["PATCH-DOC"]


def test_all_that_a_turn_changes_is_one_message():
    first, second, column, document = Div(), Div(), Column(), Document()
    document.add_root(column)

    def turn():
        first.text = "one"  # not of the page yet
        column.children = [first]
        first.text = "two"
        column.children = [first, second]
        second.text = "three"

    async def visit(change, pull, sent):
        page = await pull()
        await change(turn)
        await change(setattr, second, "text", "four")
        return page

    page, sent = browse(document, visit)
    answers = [message.content["events"] for message in sent]
    assert [[event["attr"] for event in events] for events in answers] == [
        ["children", "text", "children", "text"],
        ["text"],
    ]
    # The browser, too, ends with what the turn ended with.
    copy = Document.from_json(page.content["doc"])
    for message in sent:
        copy.apply_json_patch(message.payload)
    assert [child.text for child in copy.roots[0].children] == ["two", "four"]


def test_a_change_of_panel_does_not_overtake_what_it_is_a_change_of(monkeypatch):
    text, column, document = Div(), Column(), Document()
    document.add_root(column)

    async def visit(change, pull, sent):
        page = await pull()
        session = change.__self__
        monkeypatch.setattr(document, "_session_context", lambda: SimpleNamespace(session=session))
        state._loaded[document], state._thread_id_[document] = True, threading.get_ident()

        def turn():
            column.children = [text]
            with set_curdoc(document), unlocked():
                text.text = "one"
            text.text = "two"

        await change(turn)
        with set_curdoc(document), unlocked():  # not in the session's turn
            text.text = "three"
        await asyncio.sleep(0.01)
        return page

    page, sent = browse(document, visit)
    copy = Document.from_json(page.content["doc"])
    seen = []
    for message in sent:
        copy.apply_json_patch(message.payload)
        seen += [event["new"] for event in message.content["events"] if event["attr"] == "text"]
    assert seen == ["one", "two", "three"]
    assert [child.text for child in copy.roots[0].children] == ["three"]


def test_panel_still_waits_by_this_name():
    assert "_debounce" in Syncable.__annotations__  # explorer/app.py sets it
