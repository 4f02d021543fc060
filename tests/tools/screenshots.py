"""Pictures of the dashboard, to look at: `make screenshots` writes them to screenshots/.

The light desktop picture is also the one in the README, assets/screenshot.png.
"""

import shutil
import sys
from pathlib import Path

from browser import FLAGS, Explorer, find_browser
from playwright.sync_api import sync_playwright
from served import ROOT, serve

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
STATES = {
    "default": "",
    "minmax": "&method=minmax",
    "plus": "&method=dfsq%2B&activation_bits=2&channel=3",
    "post-relu": "&layer=body.4.body.2&activation_bits=3&channel=7",
    "error": "&words=1&terms=3",
    "by-hand": "&activation_bits=2&hand=[-512,-96,0,256]&right=hand",
    "methods": "&tab=methods&activation_bits=3&box=[60,40,190,140]",
    "layers": "&tab=layers&activation_bits=3&method=mse",
    "training": "&tab=training",
    "sweep": "&tab=sweep",
    "deployment": "&tab=deployment&network=xlsr_x3&representatives=16",
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = find_browser() or sys.exit("no Chrome or Chromium on this machine")
    with serve(folder / "server.log") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for size, (width, height) in SIZES.items():
            for theme in ("default", "dark"):
                for state, query in STATES.items():
                    page = browser.new_page(viewport={"width": width, "height": height})
                    Explorer(page, url).open(f"?theme={theme}{query}")
                    name = f"{size}-{'light' if theme == 'default' else theme}-{state}"
                    page.screenshot(path=folder / f"{name}.png")
                    # The page scrolls inside its main part: a window as tall as that shows all of it.
                    tall = page.evaluate("document.querySelector('#main').scrollHeight") + 90
                    page.set_viewport_size({"width": width, "height": tall})
                    page.wait_for_timeout(500)
                    page.screenshot(path=folder / f"{name}-all.png")
                    page.close()
                    print(folder / f"{name}.png")
        browser.close()
    shutil.copy(folder / "desktop-light-default.png", ROOT / "assets" / "screenshot.png")


if __name__ == "__main__":
    main(ROOT / "screenshots")
