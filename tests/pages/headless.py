"""The page's tabs without a browser: what a visitor's choices make of figures and sentences."""

import html
import io
import re
import time
from collections.abc import Iterator

import numpy as np
import panel as pn
from bokeh.events import Tap
from bokeh.models import GlyphRenderer, Plot
from PIL import Image

from explorer.choices.state import ExplorerState
from explorer.visit import Visit

LONGEST = 200  # seconds that anything may take on a busy machine


class Visitor:
    """A session whose tab is open; `state` holds the choices, and every change is waited for by `settle`."""

    def __init__(self, visit: Visit | None = None, **choices):
        self.visit = visit or Visit(ExplorerState())
        self.state = self.visit.session.state
        self.state.param.update(**choices)
        self.session = self.visit.session
        self._roots = {}
        self.page = pn.Column(*self.visit.sidebar, *self.visit.header, *self.visit.main)
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

    def widget(self, label: str):
        """The control with that label, of several the one that shows."""
        found = [control for control in self.page.select(pn.widgets.Widget) if control.label == label]
        return found[0] if len(found) == 1 else next(filter(self.shown, found))

    def move(self, label: str, value) -> None:
        """Set the control with that label, as a hand does, and wait for what follows."""
        self.widget(label).value = value
        self.settle()

    def press(self, label: str) -> None:
        """Press the button with that label and wait for what follows."""
        self.widget(label).clicks += 1
        self.settle()

    def shown(self, control) -> bool:
        """Whether nothing that holds the control is hidden."""
        holders = [part for part in self.page.select() if control in part.select()]
        return all(part.visible for part in holders)

    def take(self, name: str, content: bytes) -> None:
        """Bring a file, as by dropping it, and wait for what follows."""
        self.session.uploads.take(name, content)
        self.settle()

    def figure(self, name: str):
        """The Bokeh figure of that name in the open tab, None if it is not there."""
        for pane in _visible(self.page, (pn.pane.Bokeh, pn.pane.HoloViews)):
            root = pane.object if isinstance(pane, pn.pane.Bokeh) else self._root(pane)
            found = root.select_one({"name": name, "type": Plot})
            if found is not None:
                return found
        return None

    def _root(self, pane: pn.pane.HoloViews):
        """What Bokeh draws for a pane, made when it is first looked at, as by a browser."""
        if pane not in self._roots:
            self._roots[pane] = pane.get_root()
        return self._roots[pane]

    def data(self, name: str, renderer: int = 0) -> dict:
        """What one renderer of that figure draws: column -> values."""
        return dict(self.figure(name).renderers[renderer].data_source.data)

    def column(self, name: str, column: str) -> list:
        """The values of the first renderer of that figure that has a column of that name."""
        renderers = self.figure(name).renderers
        found = [r.data_source.data for r in renderers if isinstance(r, GlyphRenderer)]
        return list(next(data[column] for data in found if column in data))

    def drawn(self, *names: str) -> str:
        """All that the named figures draw, as a text to compare."""
        found = [self.figure(name) for name in names]
        return repr(
            [
                [
                    fig.title and fig.title.text,
                    *(_plain(r.data_source.data) for r in fig.renderers if isinstance(r, GlyphRenderer)),
                ]
                for fig in found
            ]
        )

    def levels(self) -> list[float]:
        """The points that the histogram shows."""
        return list(self.data("histogram", 1)["x"])

    def picture(self, name: str) -> np.ndarray:
        """What the first image of that figure holds."""
        return np.asarray(self.data(name)["image"][0])

    def tap(self, name: str, x: float, y: float = 0.0) -> None:
        """Tap on a figure, as a hand does, and wait for what follows."""
        figure = self.figure(name)
        figure._trigger_event(Tap(figure, x=x, y=y))
        self.settle()

    def rows(self, text: str) -> list[list[str]]:
        """The cells, row by row, of the table beside which the text stands."""
        texts = (str(pane.object) for pane in _visible(self.page, pn.pane.HTML))
        table = next(markup for markup in texts if text in markup and "<tr" in markup)
        cells = [
            re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr.*?</tr>", table, re.S)
        ]
        return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells if row]

    def count(self, text: str) -> int:
        """How many visible texts match the regular expression."""
        shown = [
            re.sub(r"(<[^>]+>|\s)+", " ", str(pane.object)) for pane in _visible(self.page, pn.pane.HTML)
        ]
        return sum(bool(re.search(text, html.unescape(line))) for line in shown)


def _visible(part, kind) -> Iterator:
    """The parts of that kind that are not hidden, nor is anything that holds them."""
    if part.visible and isinstance(part, pn.layout.ListLike):
        for inner in part:
            yield from _visible(inner, kind)
    elif part.visible:
        yield from part.select(lambda found: isinstance(found, kind))


def photo(side: int, seed: int = 0) -> bytes:
    """A picture of smooth colours as a PNG file, `side` pixels square."""
    small = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


def _plain(data: dict) -> dict:
    """Columns without arrays, which a text would show in part."""
    return {
        name: [part.tolist() if isinstance(part, np.ndarray) else part for part in column]
        for name, column in data.items()
    }
