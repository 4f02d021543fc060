"""The page's tabs without a browser: what a visitor's choices make of figures and sentences."""

import html
import re
import time

import panel as pn
from bokeh.models import Plot

from explorer.choices.state import ExplorerState
from explorer.visit import Visit

LONGEST = 300  # seconds that anything may take on a busy machine


class Visitor:
    """A session whose tab is open; `state` holds the choices, and every change is waited for by `settle`."""

    def __init__(self, **choices):
        self.state = ExplorerState()
        self.state.param.update(**choices)
        self.visit = Visit(self.state)
        self.session = self.visit.session
        self.page = pn.Column(*self.visit.sidebar, self.visit.status_line, self.visit.tabs)
        self.session.start()
        self.settle()

    def choose(self, **choices) -> None:
        """Change the state and wait for what follows."""
        self.state.param.update(**choices)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is computed any more."""
        self.until(lambda: not self.session.status.busy)

    def until(self, condition) -> None:
        end = time.monotonic() + LONGEST
        while not condition():
            assert time.monotonic() < end, (self.session.status.busy, self.session.status.errors)
            time.sleep(0.01)

    def figure(self, name: str):
        """The Bokeh figure of that name in the open tab, None if it is not there."""
        for pane in self.page.select(pn.pane.Bokeh):
            found = pane.object.select_one({"name": name, "type": Plot})
            if found is not None:
                return found
        return None

    def data(self, name: str, renderer: int = 0) -> dict:
        """What one renderer of that figure draws: column -> values."""
        return dict(self.figure(name).renderers[renderer].data_source.data)

    def count(self, text: str) -> int:
        """How many visible texts match the regular expression."""
        shown = [re.sub(r"<[^>]+>", " ", str(pane.object)) for pane in self.page.select(pn.pane.HTML)]
        return sum(bool(re.search(text, html.unescape(line))) for line in shown)
