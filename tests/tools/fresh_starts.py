"""Move a notebook's first slider in JupyterLab before the last cell has run: what it moves must follow.

python tests/tools/fresh_starts.py --starts 10
Each start is a kernel of its own; the notebooks with widgets take turns. Prints a line a start, and ends with
an error if a figure did not follow or the browser's console held an error.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from browser import FLAGS, find_browser
from lab import IDLE, SECONDS, jupyterlab
from playwright.sync_api import Page, sync_playwright
from served import ROOT

NOTEBOOKS = ("1_hard_to_quantize", "2_universal_sets", "3_choosing_points", "4_dfsq", "5_odm", "6_int8")
SLIDER = ".bk-input-group:has(.noUi-handle)"
# What is drawn and said in the first documents, as many as asked for.
DRAWN = """(number) => JSON.stringify(Bokeh.documents.slice(0, number).map((document) =>
  [...document._all_models.values()].map((m) => m.type == 'ColumnDataSource'
    ? [...(m.data instanceof Map ? m.data.values() : Object.values(m.data))]
    : typeof m.text === 'string' ? m.text : '')))"""


def start(page: Page, url: str, name: str) -> tuple[bool, float]:
    """Open a notebook, run it, and move its first slider; whether cells still ran then, and its seconds."""
    page.goto(f"{url}/lab/tree/{name}.ipynb?reset")
    page.get_by_text(IDLE).wait_for()
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel and Run All Cells", exact=False).first.click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    slider = page.locator(SLIDER).first
    handle = slider.locator(".noUi-handle").first
    handle.wait_for()
    under_way = page.locator(".jp-InputPrompt", has_text="[*]:").count() > 0
    page.wait_for_timeout(1000)  # a hand takes longer
    shown = page.evaluate("Bokeh.documents.length")
    before, moved = page.evaluate(DRAWN, shown), time.monotonic()
    handle.press("ArrowRight")
    while page.evaluate(DRAWN, shown) == before:
        if time.monotonic() > moved + SECONDS:
            raise AssertionError(f"{name}: nothing follows its first slider")
        page.wait_for_timeout(100)
    return under_way, time.monotonic() - moved


def main() -> None:
    """Start as often as asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=10)
    starts = parser.parse_args().starts
    complaints: list[str] = []
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place) / "notebooks"
        folder.mkdir()
        for path in (ROOT / "notebooks").glob("[!.]*.*"):
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / "recorded").symlink_to(ROOT / "notebooks" / "recorded")
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        with jupyterlab(folder, Path(place)) as url:
            for number in range(starts):
                name = NOTEBOOKS[number % len(NOTEBOOKS)]
                page = browser.new_context(viewport={"width": 1300, "height": 1600}).new_page()
                page.set_default_timeout(SECONDS * 1000)
                page.on("pageerror", lambda error, name=name: complaints.append(f"{name}: {error}"))
                under_way, seconds = start(page, url, name)
                print(
                    f"{name:20} {'cells still ran' if under_way else 'all had run':16} {seconds:6.1f} s",
                    flush=True,
                )
                page.context.close()
        browser.close()
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
