"""Random use of the dashboard in a real browser: no error on its console, no leak, no process left behind.

python tests/tools/soak.py --minutes 60
Samples the server's memory, what its caches (which are bounded) hold of it, the page's heap after a
collection, and the processes; prints a line each, and ends with an error if anything was wrong or what is not
in caches went on growing.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from browser import FLAGS, Explorer, find_browser
from load import memory
from playwright.sync_api import Page, TimeoutError, sync_playwright
from served import faults, serve

SAMPLE = 30.0  # seconds between two samples
REST = r"^(Ready|Stopped\. Change any setting to continue\.)$"
PATIENCE = 120.0  # seconds of work: the best bits of all layers take minutes
VISIT = 150.0  # seconds after which the visitor comes anew
GROWTH = 1.15  # of the last third's lower quartile over the second's: work's passing peaks are no leak
TABS = ("Explore", "Methods", "Layers", "Training", "Sweep", "Deployment")


def act(page: Page, rng: random.Random) -> str:
    """One thing that a person does; what it was."""
    what = rng.choice(("slider", "slider", "select", "tab", "button", "scroll"))
    if what == "slider":
        handle = _any(page, rng, ".noUi-handle")
        if handle is not None:
            for _ in range(rng.randint(1, 4)):
                handle.press(rng.choice(("ArrowLeft", "ArrowRight")))
    elif what == "select":
        chosen = _any(page, rng, "#sidebar select")
        if chosen is not None:
            chosen.select_option(index=rng.randrange(chosen.locator("option").count()), timeout=5000)
    elif what == "tab":
        page.get_by_role("button", name=rng.choice(TABS), exact=True).click()
    elif what == "button":
        pressed = _any(page, rng, "#sidebar .bk-btn-group .bk-btn")
        if pressed is not None:
            pressed.click()
    else:
        page.mouse.move(900, 500)
        page.mouse.wheel(0, rng.choice((-600, 600)))
    return what


def _any(page: Page, rng: random.Random, selector: str):
    """One of the visible elements, None if there is none."""
    found = [element for element in page.locator(selector).all() if element.is_visible()]
    return rng.choice(found) if found else None


def heap(page: Page) -> float:
    """MiB of the page's objects that are in use."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("HeapProfiler.collectGarbage")
    used = devtools.send("Runtime.getHeapUsage")["usedSize"] / 2**20
    devtools.detach()
    return used


def zombies() -> int:
    found = psutil.Process().children(recursive=True)
    return sum(process.is_running() and process.status() == psutil.STATUS_ZOMBIE for process in found)


def visit(browser, url: str, until: float, rng: random.Random, tell) -> list[str]:
    """A visitor who does random things; complaints of the page."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(30_000)
    explorer = Explorer(page, url).open()
    sampled = time.monotonic()
    while time.monotonic() < until and not explorer.complaints:
        done = "something that was gone before it was reached"
        with contextlib.suppress(TimeoutError):
            done = act(page, rng)
        page.wait_for_timeout(rng.randint(300, 2500))
        if time.monotonic() - sampled >= SAMPLE:
            sampled = time.monotonic()
            rest(explorer)
            tell(heap(page), done)
    context.close()
    return explorer.complaints


def rest(explorer: Explorer) -> None:
    """Wait until nothing is computed any more; what takes too long is stopped, as a person would."""
    try:
        explorer.shows(REST, seconds=PATIENCE)
    except AssertionError:
        with contextlib.suppress(TimeoutError):  # it may end just now
            explorer.press("Stop")
        explorer.shows(REST, seconds=60)


def _lower(values: list[float]) -> float:
    """The lower quartile; 0 of too few."""
    return statistics.quantiles(values, n=4)[0] if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    path = find_browser() or sys.exit("no Chrome or Chromium on this machine")
    rng, began, samples = random.Random(args.seed), time.monotonic(), []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        log = Path(folder) / "log"
        with serve(log, "--setup", str(Path(__file__).with_name("give_back.py"))) as url:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)

            def tell(used: float, done: str) -> None:
                said = re.findall(r"the caches hold (\d+) MiB", log.read_text())
                held, server = float(said[-1]) if said else 0.0, memory(url)
                samples.append((server - held, used))
                minutes, dead = (time.monotonic() - began) / 60, zombies()
                print(
                    f"{minutes:5.1f} min  server {server:6.0f} MiB, {held:6.0f} of it in caches  "
                    f"page {used:5.1f} MiB  zombies {dead}",
                    flush=True,
                )
                if dead:
                    wrong.append(f"{dead} zombies after {done}")

            end = began + 60 * args.minutes
            while time.monotonic() < end and not wrong:
                wrong += visit(browser, url, min(end, time.monotonic() + VISIT), rng, tell)
            browser.close()
        wrong += [log.read_text()] if faults(log.read_text()) else []
    left = [
        child for child in psutil.Process().children(recursive=True) if "panel" in " ".join(child.cmdline())
    ]
    wrong += [f"left behind: {process}" for process in left]
    third = len(samples) // 3
    for place, name in enumerate(("server but for its caches", "page")):
        values = [sample[place] for sample in samples]
        # In the first third all is new to the server: its networks, and the libraries of each tab.
        second, last = (_lower(values[third : 2 * third]), _lower(values[2 * third :]))
        most = max(values, default=0)
        print(f"{name}: {second:.0f} MiB in the second third, {last:.0f} in the last, at most {most:.0f}")
        if third > 10 and last > GROWTH * second:
            wrong.append(f"the {name} grew")
    print("\n".join(wrong) or "nothing went wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
