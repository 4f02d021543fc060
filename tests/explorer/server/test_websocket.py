"""What a browser is sent, read from a real server's websocket."""

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import panel as pn
import panel.io.document
from bokeh.document import Document
from bokeh.models import Column, Div
from bokeh.protocol import Protocol
from bokeh.protocol.message import Message
from bokeh.server.views.ws import WSHandler
from served import LONGEST, ROOT, free_port
from visitor import Connection

from explorer.server.document_queue import DocumentQueue, held
from explorer.server.websocket import changes_in_order, send_at_once
from explorer.visit import page

TURNS = 100


def test_no_frame_waits_for_an_acknowledgement(monkeypatch):
    class Handler:
        def __init__(self):
            self.done = []

        def set_nodelay(self, value):
            self.done.append(("nodelay", value))

    monkeypatch.setattr(WSHandler, "open", lambda self: self.done.append("opened") or self.done)
    send_at_once.__wrapped__()
    handler = Handler()
    assert WSHandler.open(handler) == [("nodelay", True), "opened"]


def browse(app, visit):
    """Serve `app` and return what the coroutine `visit(url)` returns."""
    port = free_port()
    server = pn.serve({"app": app}, port=port, address="127.0.0.1", show=False, threaded=True)
    try:
        with ThreadPoolExecutor(1) as pool:  # a browser's tests leave a loop running in the main thread
            return pool.submit(asyncio.run, visit(f"http://127.0.0.1:{port}/app")).result(LONGEST)
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection that has not asked for the page yet; the server may still be starting."""
    for _ in range(10 * LONGEST):
        connection = Connection(url)
        try:
            await connection.connect(await connection.fetch_page())
            break
        except OSError:
            await asyncio.sleep(0.1)
    yield connection
    await connection.close()


class Figures:
    """What a page may change: a model that is new each time, one of Bokeh's, and one of Panel's."""

    def __init__(self):
        self.column, self.text, self.pane = Column(), Div(name="fixed", text="0"), pn.pane.HTML("0")
        self.layout = pn.Column(pn.pane.Bokeh(self.column), pn.pane.Bokeh(self.text), self.pane)

    def change(self, number: int) -> None:
        new = Div(name="new")
        self.column.children = [new]
        self.pane.object = str(number)
        new.text = self.text.text = str(number)


class Copy:
    """The page as a browser has it, which takes the server's messages one by one."""

    def __init__(self, document: dict):
        self.document = Document.from_json(document)

    def take(self, message: Message) -> tuple[str, ...]:
        """Its three texts after a message; raises for a model that was not sent before."""
        if message.msgtype == "PATCH-DOC":
            self.document.apply_json_patch(message.payload)
        pane = next(m for m in self.document.models if type(m).__name__ == "HTML")
        named = (self.document.get_model_by_name(name) for name in ("fixed", "new"))
        return (pane.text, *(div.text for div in named if div is not None))


def test_all_that_a_turn_changes_is_one_message_and_turns_keep_their_order():
    def app():
        figures, queue = Figures(), DocumentQueue()

        def work():
            for number in range(1, TURNS + 1):
                queue(lambda number=number: figures.change(number))

        pn.state.onload(lambda: threading.Thread(target=work).start())
        return figures.layout

    async def visit(url):
        async with connected(url) as connection:
            copy, seen = Copy(await connection.pull()), []
            await connection.say_ready()
            while not seen or str(TURNS) not in seen[-1]:
                seen.append(copy.take(await asyncio.wait_for(connection.next(), LONGEST)))
            return seen

    seen = [texts for texts in browse(app, visit) if len(texts) == 3]
    assert all(len(set(texts)) == 1 for texts in seen), "all of a turn comes at once"
    assert [int(texts[0]) for texts in seen] == list(range(1, TURNS + 1))


def test_a_browsers_own_change_on_the_way_takes_no_model_from_a_message():
    class Browser:
        """A connection's end, which keeps what is sent."""

        def __init__(self):
            self.protocol, self._socket, self.messages = Protocol(), self, []

        async def send_message(self, message):
            self.messages.append(message)

    async def visit():
        changes_in_order()
        document, browser = Document(), Browser()
        document.add_root(column := Column())
        copy = Copy(document.to_json())
        document.hold()
        column.children = [Div(name="new", text="7")]
        panel.io.document.write_events(document, [browser], list(document.callbacks._held_events))
        change = {"kind": "ModelChanged", "model": {"id": column.id}, "attr": "visible", "new": False}
        document.apply_json_patch({"events": [change]})
        await asyncio.sleep(0.1)
        for message in browser.messages:
            copy.document.apply_json_patch(message.payload)
        return copy.document.get_model_by_name("new").text

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, visit()).result(LONGEST) == "7"


def test_what_a_widget_changes_is_one_message():
    def app():
        figures, slider = Figures(), pn.widgets.IntSlider(label="slider", end=9)
        slider.param.watch(held(lambda event: figures.change(event.new)), "value")
        figures.layout.append(slider)
        return figures.layout

    async def visit(url):
        async with connected(url) as connection:
            copy, seen = Copy(await connection.pull()), []
            slider = next(m for m in copy.document.models if getattr(m, "title", None) == "slider")
            await connection.say_ready()
            change = {"kind": "ModelChanged", "model": {"id": slider.id}, "attr": "value", "new": 7}
            await connection.send("PATCH-DOC", {"events": [change]})
            while not seen or "7" not in seen[-1]:
                seen.append(copy.take(await asyncio.wait_for(connection.next(), LONGEST)))
            return seen[-1]

    assert browse(app, visit) == ("7", "7", "7")


def test_presses_are_held():
    """Panel handles a press that comes right after another change without Bokeh's lock.

    There a change of one of Bokeh's models that nobody holds is an error: the press does nothing.
    """
    files = {path: path.read_text() for path in (ROOT / "explorer").rglob("*.py")}
    pressed = [call for text in files.values() for call in re.findall(r"(?<!js_)on_click\((.{5})", text)]
    assert len(pressed) > 10
    assert set(pressed) == {"held("}


def test_nothing_comes_before_the_page():
    addresses = ("", "?tab=sweep", "?tab=training", "?tab=methods", "?tab=layers&words=%C2%B2")

    async def first_change(url):
        async with connected(url) as connection:
            await asyncio.sleep(2)  # a slow browser
            await connection.pull()  # raises if the next message is not the page
            await connection.say_ready()
            message = await asyncio.wait_for(connection.next(), LONGEST)
            while message.msgtype != "PATCH-DOC":
                message = await asyncio.wait_for(connection.next(), LONGEST)
            return message.content["events"]

    async def visit(url):
        async with connected(url):
            return await asyncio.gather(*(first_change(url + address) for address in addresses))

    assert all(browse(lambda: page(), visit))
