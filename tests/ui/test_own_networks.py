"""Networks of one's own in a real browser: in JupyterLab's cells, and served by `panel serve`."""

import os
import re
import time

import pytest
from browser import Explorer, until, visitor
from lab import SECONDS, jupyterlab, run_all, write_notebook
from served import ROOT, faults, serve

pytestmark = pytest.mark.browser

SCRIPT = """
from strangers import Attention
from torch import nn
from explorer import explore

five = nn.Sequential(
    *(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(4)),
    nn.Conv2d(8, 12, 3, padding=1),
    nn.PixelShuffle(2),
)
networks = {"five convs": five, "attention": Attention()}
explore(networks, scale=2, method="minmax", compared_bits=[3]).servable()
"""
SETUP = """
import gc
import sys
import torch
from torch import nn
from strangers import conv, stranger
sys.path.insert(0, ".")
import elsewhere
torch.manual_seed(0)
from explorer import explore
from explorer.choices.state import ExplorerState

def alive():
    gc.collect()
    return sum(type(thing) is ExplorerState for thing in gc.get_objects())
"""
LAYERS = """() => Bokeh.documents.map((d) => d.get_model_by_name('layers alone')).filter((f) => f)
  .map((f) => f.renderers[0].data_source.data)
  .map((d) => [...((d instanceof Map ? d.get('layer') : d.layer) ?? [])])"""
FIGURES = """(name) => Bokeh.documents.filter((d) => d.get_model_by_name('heat map')).map((d) => {
  const entries = (data) => data instanceof Map ? Object.fromEntries(data) : data;
  const columns = d.get_model_by_name(name)?.renderers.map((r) => entries(r.data_source.data)) ?? [];
  const image = columns.map((c) => c.count ?? c.image).find((c) => c?.length);
  return {rows: image?.[0].shape?.[0] ?? 0, values: JSON.stringify(columns)};
})"""
# A torch.nn.Sequential, one with attention and a long skip, one of another project's file.
CELLS = {
    "nn.Sequential(conv(3, 8), conv(8, 8), conv(8, 8), conv(8, 12), nn.PixelShuffle(2))": ("1", 8),
    "stranger('Attention')": ("blocks.0.0", 16),
    "elsewhere.Distilled()": ("c1", 12),
}
CELL = "explore({{'mine': {}}}, scale=2, method='minmax', compared_bits=[3])"
ELSEWHERE = '''
import torch
from torch import nn

class Distilled(nn.Module):
    """Half of each layer's channels go on, half are kept for the end."""

    def __init__(self):
        super().__init__()
        self.fea = nn.Conv2d(3, 12, 3, 1, 1)
        self.c1 = nn.Conv2d(12, 12, 3, 1, 1)
        self.c2 = nn.Conv2d(6, 12, 3, 1, 1)
        self.c5 = nn.Conv2d(18, 12, 1)
        self.up = nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1), nn.PixelShuffle(2))
        self.act = nn.LeakyReLU(0.05, inplace=True)

    def forward(self, x):
        x = self.fea(x)
        kept, rest = self.act(self.c1(x)).chunk(2, 1)
        out = self.c5(torch.cat([kept, self.act(self.c2(rest))], 1))
        return self.up(self.act(out) + x)
'''


def checked(page: Explorer, layer: str, channels: int, bits: str = "W5A5") -> None:
    """The heat map is the layer's, a slider changes points and picture, Layers names a layer."""
    chosen = page.page.locator(f"select:has(option[value='{layer}'])").first
    assert chosen.input_value() == layer
    until(lambda: page.page.evaluate(FIGURES, "heat map")[0]["rows"] == channels, page)
    before = page.signature("histogram")
    page.slide("Activation bits", 1)
    page.after_change(("histogram",), before)
    page.shows(bits)
    assert page.figure(f"picture {bits[1]}")["data"][0]["image"]
    page.press("Layers")
    until(lambda: layer in ((page.page.evaluate(LAYERS) or [[]])[-1]), page)
    page.settle()


@pytest.fixture
def importable(monkeypatch, tmp_path):
    """A folder from which servers may import, as from that of the strangers' networks."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests" / "support"), str(tmp_path)]))
    return tmp_path


def test_the_owners_network_is_served_from_a_flag(chromium, importable):
    (importable / "elsewhere.py").write_text(ELSEWHERE)
    with (
        serve(importable / "log", "--args", "--network", "elsewhere:Distilled") as url,
        visitor(chromium, url) as page,
    ):
        page.open("?method=minmax&compared_bits=[3]")
        page.shows("Distilled ×2, 4 k parameters")
        checked(page, "c1", 12)
        page.press("Export")
        page.page.get_by_text("The same in Python").click()
        page.shows("from elsewhere import Distilled")
        page.shows(r"model = core.unit_range\(Distilled\(\), 1, 2\)")
    assert not faults((importable / "log").read_text())


def test_a_script_is_served(chromium, importable):
    script = importable / "mine.py"
    script.write_text(SCRIPT)
    with serve(importable / "log", script=script) as url, visitor(chromium, url) as page:
        page.open()
        page.shows("Sequential ×2, 3 k parameters")
        checked(page, "1", 8)
        page.press("Explore")
        page.choose("Network", "attention ×2")
        page.shows("W5A5")
        page.settle()
        checked(page, "blocks.0.0", 16, "W6A6")
    assert not faults((importable / "log").read_text())


def test_three_networks_live_side_by_side_in_jupyterlab(chromium, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "elsewhere.py").write_text(ELSEWHERE)
    cells = [SETUP, *(CELL.format(network) for network in CELLS), "alive()"]
    write_notebook(folder / "mine.ipynb", *cells)
    with jupyterlab(folder, tmp_path) as url:
        context = chromium.new_context(viewport={"width": 1400, "height": 5000})
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000)
        asked, complaints = [], []
        local = (url, "data:", "blob:", "ws:")
        page.on("request", lambda r: None if r.url.startswith(local) else asked.append(r.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        run_all(page, url, "mine.ipynb", len(cells))
        results = page.locator(".jp-OutputArea-executeResult")
        assert results.nth(len(CELLS)).inner_text().split()[-1] == "3", "one session a cell"
        page.wait_for_function(f"({FIGURES})('heat map').length == {len(CELLS)}")
        for cell, (layer, channels) in reversed(list(enumerate(CELLS.values()))):
            moved_in_a_cell(page, results.nth(cell), cell, layer, channels)
            others = [results.nth(other) for other in range(cell)]
            assert not any(other.get_by_text("W5A5").count() for other in others), "cells know no other"
        delete_cell(page, 1)
        run_last(page)
        page.locator(".jp-CodeCell").last.get_by_text("2", exact=True).wait_for()
        context.close()
    assert not asked
    assert not complaints


def delete_cell(page, number: int) -> None:
    """Delete a cell by the menu, as a person may."""
    page.locator(".jp-CodeCell").nth(number).locator(".jp-InputPrompt").first.click()
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_role("menuitem", name="Delete Cell").click()


def run_last(page) -> None:
    """Run the last cell again."""
    page.locator(".jp-CodeCell").last.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+Enter")


def moved_in_a_cell(page, shown, cell: int, layer: str, channels: int) -> None:
    """The heat map is the layer's, a slider changes points and picture, Layers names the layer."""

    def shows(text: str) -> None:
        shown.get_by_text(re.compile(f"^{text}")).locator("visible=true").first.wait_for()

    def until_holds(condition) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end
            page.wait_for_timeout(200)

    def figure(name: str) -> list:
        return page.evaluate(FIGURES, name)[cell]

    shows("Ready")
    assert shown.locator(f"select:has(option[value='{layer}'])").first.input_value() == layer
    assert figure("heat map")["rows"] == channels
    before = figure("histogram")["values"]
    slider = shown.locator(".bk-input-group:has(.bk-slider-title:has-text('Activation bits'))").first
    slider.locator(".noUi-handle").press("ArrowRight")
    shows("W5A5")
    shows("Ready")
    until_holds(lambda: figure("histogram")["values"] != before)
    until_holds(lambda: figure("picture 5")["rows"])
    shown.get_by_role("button", name="Layers", exact=True).click()
    until_holds(lambda: any(layer in names for names in page.evaluate(LAYERS)))
