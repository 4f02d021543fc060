import contextlib
import io
import re
import shutil
import uuid

import pandas as pd
import pytest
from browser import until
from playwright.sync_api import TimeoutError
from served import LONGEST

from core.sweep.store import SCHEMA
from explorer.jobs.sweep_runs import FOLDER, LOG

pytestmark = pytest.mark.browser

LONG = 1000 * LONGEST  # ms that a sweep may take on a busy machine


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
    until(lambda: explorer.figure("sweep bits"), explorer)
    explorer.settle()


def dots(explorer, name):
    """What a figure's dots are."""
    return next(data for data in explorer.figure(name)["data"] if "psnr" in data)


def drop(explorer, option):
    """Take a value out of the list that has it."""
    explorer.page.get_by_label(option, exact=True).uncheck()


def fill(explorer, label, text):
    field = explorer.page.locator(f".bk-input-group:has(label:has-text('{label}')) input")
    field.fill(text)
    field.press("Tab")


def test_rows_are_downloaded_and_a_tap_opens_their_configuration(explorer):
    open_tab(explorer, "&method=mse&activation_bits=7&compared_bits=[]")
    found = {}
    for label, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
        with explorer.page.expect_download() as waiting:
            explorer.page.get_by_text(label, exact=True).click()
        found[label] = read(io.BytesIO(waiting.value.path().read_bytes()))
        assert waiting.value.suggested_filename == f"bundled.{label.lower()}"
    assert list(found["Parquet"].columns) == list(found["CSV"].columns) == SCHEMA.names
    assert len(found["CSV"]) == len(found["Parquet"]) > 100

    found = dots(explorer, "sweep bits")
    best = max(range(len(found["psnr"])), key=found["psnr"].__getitem__)
    bits = found["activation_bits"][best]
    assert bits != 7
    explorer.tap_at(
        lambda: explorer.place("sweep bits", bits, found["psnr"][best]),
        lambda: f"activation_bits={bits}" in explorer.page.url,
    )
    assert "tab=" not in explorer.page.url or "tab=explore" in explorer.page.url
    explorer.shows(rf"W\dA{bits}")


def test_a_box_in_one_figure_selects_in_all(explorer):
    open_tab(explorer, "&compared_bits=[]")
    explorer.press("Select by a box")
    until(lambda: explorer.tool_is_active("sweep bits", "BoxSelectTool"), explorer)
    found, mouse = dots(explorer, "sweep bits"), explorer.page.mouse
    left, bottom = explorer.place("sweep bits", 3.6, min(found["psnr"]))
    right, top = explorer.place("sweep bits", 4.4, max(found["psnr"]) + 0.1)
    mouse.move(left, top)
    mouse.down()
    mouse.move(right, bottom, steps=5)
    mouse.up()
    explorer.shows(r"\d+ of \d+ configurations selected; the best of them: ")
    (chosen,) = {bits for bits in found["activation_bits"] if 3.6 < bits < 4.4}

    def selected(name):
        data = explorer.figure(name)["data"]
        return [set(part["activation_bits"]) for part in data if "activation_bits" in part][-1]

    until(lambda: all(selected(name) == {chosen} for name in ("sweep sets", "sweep cost")), explorer)
    explorer.press("Select none")
    until(lambda: len(selected("sweep cost")) > 1, explorer)


def test_a_sweep_fills_is_cancelled_is_found_again_and_goes_on(explorer, name, chromium, server):
    open_tab(explorer)
    explorer.press("New sweep")
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
    kept = pd.read_parquet(FOLDER / name)
    (FOLDER / name / LOG).write_text("2 3\n")  # as a sweep that was stopped leaves it, if it was through
    later = chromium.new_context().new_page()
    later.set_default_timeout(LONG)
    later.goto(page.url)
    later.get_by_role("button", name="Resume", exact=True).click()
    later.get_by_text(f"{name}: 3 of 3 rows").wait_for()
    later.get_by_role("button", name="Resume", exact=True).wait_for(state="hidden")
    later.get_by_text("Every dot is a configuration").wait_for()
    later.wait_for_function(
        "() => window.Bokeh?.documents?.[0]?.get_model_by_name('sweep bits')"
        "?.renderers.find((r) => r.data_source.data.psnr ?? r.data_source.data.get?.('psnr'))"
        ".data_source.length === 3"
    )
    later.context.close()
    rows = pd.read_parquet(FOLDER / name)
    assert sorted(rows["activation_bits"]) == [2, 4, 8]
    assert rows["key"].is_unique
    assert set(kept["key"]) <= set(rows["key"])
