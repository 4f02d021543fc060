"""Fixtures for tests in a real browser: pages that must not complain."""

import contextlib
import json
import re
import shutil
import time
from pathlib import Path

import pytest
from served import LONGEST

NAMES = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser")
MAC = "/Applications/{0}.app/Contents/MacOS/{0}"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

# The data of every figure on the page, by the figure's name, as it is drawn.
READ = """(name) => {
  const doc = window.Bokeh?.documents?.[0];
  const figure = doc?.get_model_by_name(name);
  if (!figure) return null;
  const entries = (d) => d instanceof Map ? [...d.entries()] : Object.entries(d);
  const round = (v) => typeof v === 'number' ? Math.round(v * 1e6) / 1e6 : v;
  const sample = (c) => {
    const all = c.length && c[0]?.length > 1 && typeof c[0] !== 'string' ? c[0] : c;
    const step = all.length > 2000 ? 97 : 1;
    return Array.from({length: Math.ceil(all.length / step)}, (_, i) => round(all[i * step]));
  };
  return {
    title: figure.title?.text ?? '',
    x: [round(figure.x_range.start), round(figure.x_range.end)],
    data: figure.renderers.map((r) => Object.fromEntries(
      entries(r.data_source.data).map(([k, c]) => [k, sample(c)]))),
  };
}"""

# Where on the page a place of a figure's own coordinates is.
PLACE = """([name, x, y]) => {
  const view = Bokeh.index.find_one_by_id(Bokeh.documents[0].get_model_by_name(name).id);
  const box = view.el.getBoundingClientRect(), frame = view.frame;
  return [box.x + frame.x_scale.compute(x), box.y + frame.y_scale.compute(y)];
}"""
ACTIVE = """([name, kind]) => Bokeh.documents[0].get_model_by_name(name).toolbar.tools
  .some((tool) => tool.type == kind && tool.active)"""
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
ELEMENT = "(name) => Bokeh.index.find_one_by_id(Bokeh.documents[0].get_model_by_name(name).id).el"


def find_browser() -> str | None:
    paths = [MAC.format(name) for name in ("Google Chrome", "Chromium")]
    found = [shutil.which(name) for name in NAMES] + [path for path in paths if Path(path).exists()]
    return next(filter(None, found), None)


@pytest.fixture(scope="session")
def chromium():
    path = find_browser()
    if path is None:
        pytest.skip("no Chrome or Chromium on this machine: the browser tests did not run")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Explorer:
    """A page of the dashboard, with its figures readable and its complaints collected."""

    def __init__(self, page, server: str):
        self.page, self.server = page, server
        page.set_default_timeout(1000 * LONGEST)
        self.complaints: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._local_only)

    def _local_only(self, request) -> None:
        local = request.url.startswith((self.server.rsplit("/", 1)[0], "data:", "blob:"))
        if not local:
            self.complaints.append(f"asked for {request.url}")

    def open(self, query: str = "") -> "Explorer":
        self.page.goto(self.server + query)
        self.settle()
        return self

    def settle(self, timeout: float = LONGEST) -> None:
        """Wait until nothing is computed any more."""
        from playwright.sync_api import TimeoutError

        try:
            self.page.get_by_text("Ready", exact=True).wait_for(timeout=timeout * 1000)
        except TimeoutError:
            drawn = self.page.evaluate("window.Bokeh?.documents?.map((d) => d.is_idle)")
            shown = self.page.locator(".now, [role=alert], .error").all_inner_texts()
            raise AssertionError(f"not ready after {timeout} s; documents drawn: {drawn}; {shown}") from None
        self.painted()

    def painted(self) -> None:
        """Wait until what the page knows now is on the screen."""
        self.page.evaluate(PAINTED)

    def count(self, text: str) -> int:
        """How many visible texts match the regular expression."""
        found = self.page.get_by_text(re.compile(text))
        return sum(found.nth(i).is_visible() for i in range(found.count()))

    def figure(self, name: str) -> dict | None:
        return self.page.evaluate(READ, name)

    def element(self, name: str):
        """The figure of that name, brought into sight."""
        found = self.page.evaluate_handle(ELEMENT, name).as_element()
        found.evaluate("(e) => e.scrollIntoView({block: 'center'})")
        return found

    def place(self, name: str, x: float, y: float) -> list[float]:
        """Where on the screen the figure's own coordinates are, once it is brought into sight."""
        self.element(name)
        return self.page.evaluate(PLACE, [name, x, y])

    def tap(self, name: str, right: float, down: float, follows) -> None:
        """Tap on a figure at shares of its width and height, as `tap_at` does."""

        def spot() -> tuple[float, float]:
            box = self.element(name).bounding_box()
            return box["x"] + box["width"] * right, box["y"] + box["height"] * down

        self.tap_at(spot, follows)

    def tap_at(self, spot, follows) -> None:
        """Tap on the screen where `spot()` says, until `follows()`, then wait for the page's rest."""
        self._try(lambda: self.page.mouse.click(*spot()), follows)
        self.settle()

    def _try(self, act, follows) -> None:
        """Do something until `follows()`.

        Once may be too early: a figure that is not laid out yet does not feel it, or moves away.
        """
        from playwright.sync_api import Error

        end = time.monotonic() + LONGEST
        while not follows():
            assert time.monotonic() < end, "it had no effect"
            with contextlib.suppress(Error):  # what a slow page still answers may have taken the figure away
                act()
            soon = time.monotonic() + 10
            while not follows() and time.monotonic() < soon:
                self.page.wait_for_timeout(50)

    def drag(self, name: str, begin: tuple[float, float], end: tuple[float, float], follows) -> None:
        """Drag on a figure from one place to another, in its own coordinates, until `follows()`."""
        mouse = self.page.mouse

        def act() -> None:
            mouse.move(*self.place(name, *begin))
            mouse.down()
            mouse.move(*self.place(name, *end), steps=5)
            mouse.up()

        self._try(act, follows)
        self.settle()

    def tool_is_active(self, name: str, kind: str) -> bool:
        """Whether a figure's tool of that kind takes drags and taps."""
        return self.page.evaluate(ACTIVE, [name, kind])

    def signature(self, *names: str) -> str:
        return json.dumps([self.figure(name) for name in names])

    def after_change(self, names: tuple[str, ...], before: str, timeout: float = LONGEST) -> str:
        """Wait until the named figures differ from `before`, then until the page is at rest."""
        end = time.monotonic() + timeout
        while self.signature(*names) == before:
            assert time.monotonic() < end, f"{names} did not change"
            self.page.wait_for_timeout(50)
        self.settle()
        return self.signature(*names)

    def slide(self, label: str, steps: int) -> None:
        """Move a slider by the keyboard, as a person may."""
        handle = self.page.locator(f".bk-input-group:has(.bk-slider-title:has-text('{label}')) .noUi-handle")
        for _ in range(abs(steps)):
            value = handle.get_attribute("aria-valuenow")
            self._try(
                lambda: handle.press("ArrowRight" if steps > 0 else "ArrowLeft"),
                lambda value=value: handle.get_attribute("aria-valuenow") != value,
            )

    def press(self, text: str, follows=None) -> None:
        """Press a button; with `follows`, until that holds."""
        button = self.page.get_by_role("button", name=text, exact=True)
        self._try(button.click, follows) if follows else button.click()

    def shows(self, text: str, times: int | None = None, seconds: float = LONGEST) -> None:
        """Wait until a visible text, or `times` of them, match the regular expression."""
        until(lambda: self.count(text) if times is None else self.count(text) == times, self, seconds)

    def choose(self, label: str, option: str) -> None:
        self.page.locator(
            f".bk-input-group:has(label:has-text('{label}')) select >> visible=true"
        ).select_option(label=option)


def until(condition, explorer, seconds=LONGEST):
    """Wait until the page fulfils a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        explorer.page.wait_for_timeout(100)


@contextlib.contextmanager
def visitor(chromium, url: str):
    """A fresh visitor; fails if the browser's console holds an error or asks another host."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = Explorer(context.new_page(), url)
    yield page
    context.close()
    assert not page.complaints, "\n".join(page.complaints)


@pytest.fixture
def explorer(server, chromium):
    """A fresh visitor of the server of all tests."""
    with visitor(chromium, server) as page:
        yield page
