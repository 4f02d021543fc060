"""Networks of one's own in a real browser: in JupyterLab's cells, and served by `panel serve`."""

import contextlib
import re
import time

import pytest
from browser import ROOT, Explorer, faults, serve, until
from lab import SECONDS, jupyterlab, run_all, write_notebook

pytestmark = pytest.mark.browser

SCRIPT = """
from torch import nn
from explorer import explore

network = nn.Sequential(
    *(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(4)),
    nn.Conv2d(8, 12, 3, padding=1),
    nn.PixelShuffle(2),
)
explore({"five convs": network}, scale=2, method="minmax", compared_bits=[3]).servable()
"""
SETUP = """
import gc, weakref
from strangers import stranger
from explorer import explore
from explorer.choices.state import ExplorerState

def alive():
    gc.collect()
    return sum(type(thing) is ExplorerState for thing in gc.get_objects())
"""
ROWS = """() => {
  const map = Bokeh.documents[0].get_model_by_name('heat map');
  const entries = (d) => d instanceof Map ? Object.fromEntries(d) : d;
  const columns = map?.renderers.map((r) => entries(r.data_source.data)) ?? [];
  const image = columns.map((d) => d.count ?? d.image).find((c) => c?.length);
  return image?.[0].shape?.[0];
}"""
LAYERS = """() => Bokeh.documents.map((d) => d.get_model_by_name('layers alone')).filter((f) => f)
  .map((f) => f.renderers[0].data_source.data)
  .map((d) => [...((d instanceof Map ? d.get('layer') : d.layer) ?? [])])"""
CELL = "explore({{'mine': stranger('{}')}}, scale=2, method='minmax', compared_bits=[3])"


def checked(page: Explorer, layer: str, channels: int) -> None:
    """The heat map is the layer's, a slider changes points and picture, Layers names a layer."""
    chosen = page.page.locator(f"select:has(option[value='{layer}'])").first
    assert chosen.input_value() == layer
    until(lambda: page.page.evaluate(ROWS) == channels, page)
    before = page.signature("histogram")
    page.slide("Activation bits", 1)
    page.after_change(("histogram",), before)
    assert page.count("W5A5")
    assert page.figure("picture 5")["data"][0]["image"]
    page.press("Layers")
    until(lambda: layer in ((page.page.evaluate(LAYERS) or [[]])[-1]), page)
    page.settle()


def test_the_owners_network_is_served_from_a_flag(chromium, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support"))
    with (
        serve(tmp_path / "log", "--args", "--network", "strangers:Attention") as url,
        visitor(chromium, url) as page,
    ):
        page.open("?method=minmax&compared_bits=[3]")
        assert page.count("Attention ×2, 12 k parameters")
        checked(page, "blocks.0.0", 16)
        page.press("Export")
        page.page.get_by_text("The same in Python").click()
        assert page.count("from strangers import Attention")
        assert page.count(r"model = core.unit_range\(Attention\(\), 1, 2\)")
    assert not faults((tmp_path / "log").read_text())


def test_a_script_is_served(chromium, tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    with serve(tmp_path / "log", script=script) as url, visitor(chromium, url) as page:
        page.open()
        assert page.count("Sequential ×2, 3 k parameters")
        checked(page, "1", 8)
    assert not faults((tmp_path / "log").read_text())


@contextlib.contextmanager
def visitor(chromium, url):
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = Explorer(context.new_page(), url)
    yield page
    context.close()
    assert not page.complaints, "\n".join(page.complaints)


def test_two_cells_of_jupyterlab_live_side_by_side(chromium, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    cells = [SETUP, *(CELL.format(name) for name in ("Tied", "Attention")), "alive()"]
    write_notebook(folder / "mine.ipynb", *cells)
    with jupyterlab(folder, tmp_path) as url:
        context = chromium.new_context(viewport={"width": 1400, "height": 2400})
        page = context.new_page()
        asked, complaints = [], []
        local = (url, "data:", "blob:", "ws:")
        page.on("request", lambda r: None if r.url.startswith(local) else asked.append(r.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        run_all(page, url, "mine.ipynb", len(cells))
        first, second, number = (page.locator(".jp-OutputArea-executeResult").nth(i) for i in range(3))

        def shows(cell, text: str) -> None:
            seen = cell.get_by_text(re.compile(f"^{text}")).locator("visible=true")
            seen.first.wait_for(timeout=SECONDS * 1000)

        for cell in (first, second):
            shows(cell, "Ready")
        assert number.inner_text().split()[-1] == "2"
        slider = first.locator(".bk-input-group:has(.bk-slider-title:has-text('Activation bits'))").first
        slider.locator(".noUi-handle").press("ArrowRight")
        shows(first, "W5A5")
        shows(first, "Ready")
        assert not second.get_by_text("W5A5").count(), "cells do not know each other"
        first.get_by_role("button", name="Layers", exact=True).click()
        end = time.monotonic() + SECONDS
        while not any("body.0" in names for names in page.evaluate(LAYERS)):
            assert time.monotonic() < end
            page.wait_for_timeout(200)
        context.close()
    assert not asked
    assert not complaints
