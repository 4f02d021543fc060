import contextlib
import io
import re
import shutil
import uuid

import pandas as pd
import pytest
from playwright.sync_api import TimeoutError

from core.sweep.store import SCHEMA
from explorer.jobs.sweep_runs import FOLDER, LOG

pytestmark = pytest.mark.browser

LONG = 300_000  # ms that a sweep may take on a busy machine
PLOTS = ("sweep bits", "sweep sets", "sweep cost", "sweep table")


@pytest.fixture
def name():
    """Of a sweep that is gone after the test."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    shutil.rmtree(FOLDER / name, ignore_errors=True)


def open_tab(explorer, choices=""):
    explorer.open("?tab=sweep" + choices)
    drawn(explorer)


def drawn(explorer):
    """Wait until the tab is."""
    explorer.page.get_by_text("Every dot is a configuration").wait_for()
    explorer.page.wait_for_timeout(300)
    explorer.settle()


def drop(explorer, option):
    """Take a value out of the list that has it."""
    explorer.page.get_by_label(option, exact=True).uncheck()


def fill(explorer, label, text):
    field = explorer.page.locator(f".bk-input-group:has(label:has-text('{label}')) input")
    field.fill(text)
    field.press("Tab")


def test_the_bundled_sweep_is_there_at_once(explorer):
    explorer.open()
    assert explorer.figure("sweep bits") is None, "the tab is not drawn before it is opened"
    explorer.page.get_by_text("Sweep", exact=True).first.click()
    drawn(explorer)
    dots = explorer.figure("sweep bits")["data"][0]
    assert len(dots["psnr"]) > 50
    assert {"dfsq", "dfsq+", "minmax"} <= set(dots["method"])
    assert len(explorer.figure("sweep table")["data"][0]["value"]) > 20
    assert explorer.count("32 random LR patches of the packaged photographs") == 1
    assert "tab=" in explorer.page.url


def test_a_tap_opens_the_configuration_in_the_other_views(explorer):
    open_tab(explorer, "&method=mse&activation_bits=7")
    dots = explorer.figure("sweep bits")["data"][0]
    place = """() => {
      const figure = window.Bokeh.documents[0].get_model_by_name('sweep bits');
      const view = window.Bokeh.index.find_one(figure);
      const d = figure.renderers[0].data_source.data;
      const get = (k) => d instanceof Map ? d.get(k) : d[k];
      const i = Array.from(get('psnr')).indexOf(Math.max(...get('psnr')));
      view.el.scrollIntoView();
      const box = view.el.getBoundingClientRect(), f = view.frame;
      return [box.left + f.x_scale.compute(get('activation_bits')[i]),
              box.top + f.y_scale.compute(get('psnr')[i]), get('method')[i], get('activation_bits')[i]];
    }"""
    x, y, _, bits = explorer.page.evaluate(place)
    assert len(dots["psnr"]) > 50
    explorer.page.mouse.click(x, y)
    explorer.page.get_by_text("Distributions", exact=True).wait_for()
    explorer.settle()
    assert "tab=" not in explorer.page.url or "tab=explore" in explorer.page.url
    assert f"activation_bits={bits}" in explorer.page.url
    assert explorer.count(rf"W\dA{bits}")


def test_downloads(explorer):
    open_tab(explorer)
    found = {}
    for label, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
        with explorer.page.expect_download() as waiting:
            explorer.page.get_by_text(label, exact=True).click()
        found[label] = read(io.BytesIO(waiting.value.path().read_bytes()))
        assert waiting.value.suggested_filename == f"bundled.{label.lower()}"
    assert list(found["Parquet"].columns) == list(found["CSV"].columns) == SCHEMA.names
    assert len(found["CSV"]) == len(found["Parquet"]) > 100


def test_a_sweep_fills_is_cancelled_goes_on_and_is_found_again(explorer, name, chromium, server):
    open_tab(explorer)
    for method in ("dfsq-exact", "mse"):
        drop(explorer, method)
    drop(explorer, "coffee (scikit-image)")
    fill(explorer, "Name", name)
    page = explorer.page
    page.get_by_text(re.compile(r"^3 of at most 5,000 rows, about")).wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text(re.compile(rf"^{name}: [1-3] of 3 rows")).wait_for(timeout=LONG)
    assert f"sweep={name}" in page.url.replace("%22", "")
    with contextlib.suppress(TimeoutError):  # it may be through already
        page.get_by_role("button", name="Cancel", exact=True).click(timeout=2000)
    page.get_by_text(re.compile(rf"^{name}: (cancelled at \d of 3 rows|3 of 3 rows)")).wait_for(timeout=LONG)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text(f"{name}: 3 of 3 rows").wait_for(timeout=LONG)
    explorer.settle()
    dots = explorer.figure("sweep bits")["data"][0]
    assert sorted(dots["activation_bits"]) == [2, 4, 8]
    rows = pd.read_parquet(FOLDER / name)
    assert len(rows) == 3
    assert rows["key"].is_unique
    (FOLDER / name / LOG).write_text("2 3\n")  # as a sweep that was stopped leaves it
    later = chromium.new_context().new_page()
    later.goto(page.url)
    later.get_by_role("button", name="Resume", exact=True).click(timeout=60_000)
    later.get_by_text(f"{name}: 3 of 3 rows").wait_for(timeout=LONG)
    later.get_by_role("button", name="Resume", exact=True).wait_for(state="hidden")
    later.get_by_text("Every dot is a configuration").wait_for(timeout=60_000)
    later.wait_for_function(
        "() => window.Bokeh?.documents?.[0]?.get_model_by_name('sweep bits')"
        "?.renderers[0].data_source.length === 3",
        timeout=60_000,
    )
    later.context.close()


def test_the_tab_fits_a_phone(explorer):
    explorer.page.set_viewport_size({"width": 390, "height": 844})
    open_tab(explorer, "&theme=dark")
    assert explorer.page.evaluate("document.documentElement.scrollWidth") <= 390
