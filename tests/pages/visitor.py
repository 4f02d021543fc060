"""A visitor without a browser: opens the page as one, holds its websocket, moves widgets, awaits points."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
from collections.abc import Iterator
from urllib.parse import quote

from bokeh.protocol import Protocol
from bokeh.protocol.receiver import Receiver
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

LARGEST = 2**26  # bytes of a message
READY = {
    "kind": "MessageSent",
    "msg_type": "bokeh_event",
    "msg_data": {"type": "event", "name": "document_ready", "values": {"type": "map", "entries": []}},
}
# Widget by its title -> how often it is moved; the second ones leave the points as they are.
POINTS = {"Activation bits": 8, "Channel": 8, "Layer": 4, "Method": 3}
MOVED = POINTS | {"Weight bits": 2, "Image": 1}


def models(document: object) -> Iterator[dict]:
    """Every model in a document's JSON."""
    if isinstance(document, dict):
        if document.get("type") == "object" and "id" in document:
            yield document
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            yield from models(part)


class Connection:
    """The page at `url` and its websocket; the messages come one by one."""

    def __init__(self, url: str):
        self.url, self.app = url, url.split("?")[0]
        self.base = self.app.rsplit("/", 1)[0]
        self._numbers = itertools.count()
        self._connections = asyncio.Semaphore(6)  # as browsers have to one host

    async def fetch_page(self) -> str:
        """Page, scripts and styles as an empty browser fetches them; the session's token."""
        page = (await self._fetch(self.url)).decode()
        files = re.findall(r'(?:src|stylesheet" href)="(?:\./)?(static/[^"]+)"', page)
        await asyncio.gather(
            *(self._fetch(f"{self.base}/{quote(file, '/?=')}") for file in dict.fromkeys(files))
        )
        return re.search(r'"token":"([^"]+)"', page)[1]

    async def connect(self, token: str, patience: float = 600) -> None:
        """Open the websocket."""
        request = HTTPRequest(f"{self.app.replace('http', 'ws', 1)}/ws", headers={"Origin": self.base})
        request.request_timeout = patience
        self._socket: WebSocketClientConnection = await websocket_connect(
            request, subprotocols=["bokeh", token], max_message_size=LARGEST
        )
        self._receiver = Receiver(Protocol())
        await self.next("ACK")

    async def pull(self) -> dict:
        """The page's document."""
        await self.send("PULL-DOC-REQ", {})
        return (await self.next("PULL-DOC-REPLY")).content["doc"]

    async def say_ready(self) -> None:
        """That the page is drawn."""
        await self.send("PATCH-DOC", {"events": [READY]})

    async def next(self, expected: str | None = None):
        """The next message; None if the server is gone."""
        message = None
        while message is None:
            fragment = await self._socket.read_message()
            if fragment is None:
                return None
            message = await self._receiver.consume(fragment)
        if expected and message.msgtype != expected:
            raise OSError(f"{message.msgtype} came instead of {expected}")
        return message

    async def send(self, kind: str, content: dict) -> None:
        for part in ({"msgid": str(next(self._numbers)), "msgtype": kind}, {}, content):
            await self._socket.write_message(json.dumps(part))

    async def close(self) -> None:
        self._socket.close()
        while await self._socket.read_message() is not None:
            pass  # until the server has closed it too

    async def _fetch(self, address: str) -> bytes:
        async with self._connections:
            return (await AsyncHTTPClient().fetch(address, connect_timeout=600, request_timeout=600)).body


class Visitor(Connection):
    """One session of the server at `url`; what goes wrong is counted in `errors`, by sentence.

    answers: seconds from a change to the last points that came before the next change.
    """

    def __init__(self, url: str, seed: int):
        super().__init__(url)
        self.rng = random.Random(seed)
        self.errors: list[str] = []
        self.answers: list[float] = []
        self.opened = 0.0  # seconds from asking for the page to its points
        self.dropped = False
        self._answered = asyncio.Event()
        self._last = 0.0

    async def open(self, patience: float) -> None:
        """Page, websocket and document, until its first points."""
        asked = time.monotonic()
        await self.connect(await self.fetch_page(), patience)
        document = await self.pull()
        found = [model for model in models(document["roots"]) if "attributes" in model]
        titles = [(model["attributes"].get("title"), model) for model in found]
        self._widgets = {title: m for title, m in titles if isinstance(title, str) and title in MOVED}
        (stairs,) = (model for model in found if model["attributes"].get("name") == "staircase")
        self._points = stairs["attributes"]["renderers"][0]["attributes"]["data_source"]["id"]
        self._listener = asyncio.create_task(self._listen())
        await self.say_ready()
        await self._await_points(patience)
        self.opened = self._last - asked

    async def stay(self, end: float, pause: tuple[float, float], patience: float) -> None:
        """Move a widget every few seconds, sliders by up to three steps, until `end`."""
        while time.monotonic() < end and not self.dropped:
            await asyncio.sleep(self.rng.uniform(*pause))
            self._answered.clear()
            name, value, sent = await self._move()
            if name not in POINTS:
                continue
            if not await self._await_points(patience):
                self.errors.append(f"no answer to {name} {value}")
                continue
            # What was under way before the change may have come after it: the last answer counts.
            await asyncio.sleep(pause[0])
            self.answers.append(self._last - sent)

    async def close(self) -> None:
        self._listener.cancel()
        await super().close()

    async def _move(self) -> tuple[str, object, float]:
        """Change a widget; its title, its new value, and when that was sent."""
        name = self.rng.choices(list(MOVED), list(MOVED.values()))[0]
        widget = self._widgets[name]["attributes"]
        if "options" in widget:
            values = [option[0] if isinstance(option, list) else option for option in widget["options"]]
            steps = [self.rng.choice([value for value in values if value != widget["value"]])]
        else:
            ends = ("start", "end") if "start" in widget else ("low", "high")  # of a slider, of a spinner
            low, high, value = (widget[key] for key in (*ends, "value"))
            end = self.rng.choice([v for v in range(value - 3, value + 4) if low <= v <= high and v != value])
            steps = range(value + 1, end + 1) if end > value else range(value - 1, end - 1, -1)
        for value in steps:
            await asyncio.sleep(0.05)
            widget["value"] = value
            change = {"kind": "ModelChanged", "model": {"id": self._widgets[name]["id"]}}
            sent = time.monotonic()
            await self.send("PATCH-DOC", {"events": [change | {"attr": "value", "new": value}]})
        return name, value, sent

    async def _await_points(self, patience: float) -> bool:
        try:
            await asyncio.wait_for(self._answered.wait(), patience)
        except TimeoutError:
            return False
        return True

    async def _listen(self) -> None:
        own = {model["id"]: model["attributes"] for model in self._widgets.values()}
        while True:
            message = await self.next()
            if message is None:
                self.dropped = True
                self._answered.set()
                return
            if message.msgtype == "ERROR":
                self.errors.append(message.content["text"])
            for event in message.content.get("events", ()):
                model = event.get("model", {}).get("id")
                if event["kind"] == "ColumnDataChanged" and model == self._points:
                    self._last = time.monotonic()
                    self._answered.set()
                elif event["kind"] == "ModelChanged" and model in own:
                    own[model][event["attr"]] = event["new"]  # a layer of fewer channels, say
                elif event.get("attr") == "text" and "server&#x27;s log" in str(event["new"]):
                    self.errors.append(str(event["new"]))
