"""The ends of the INT8 files of XLSR as a picture, assets/graph_ends.png, read from the files; needs LiteRT.

PYTHONPATH=. python tests/tools/graph_ends.py
"""

import sys
from pathlib import Path

import holoviews as hv
from bokeh.embed import file_html
from bokeh.resources import INLINE
from playwright.sync_api import sync_playwright

import core
from explorer.elements.deployment import graph_ends

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/pages"))
from browser import FLAGS, find_browser  # noqa: E402 (tests/pages is no package)


def ends() -> dict:
    model = core.create_model("xlsr", 3)
    free = core.without_clip(model)
    lr = core.make_lr(core.demo_image(core.demo_names()[0]), 3)[..., :64, :64]
    litert = {
        "LiteRT, clip as converted": core.quantize_litert(model, lr, clip="float"),
        "LiteRT, clip on integers": core.quantize_litert(model, lr, clip="integer"),
        "LiteRT, clip-free or folded": core.quantize_litert(free, lr),
    }
    found = {
        "ONNX, float": core.end_of_onnx(core.export_onnx(model)),
        "ONNX, clip-free or folded": core.end_of_onnx(core.quantize_int8(model, lr)),
    }
    return found | {name: core.end_of_litert(file) for name, file in litert.items()}


if __name__ == "__main__":
    drawn = hv.render(graph_ends(ends()))
    drawn.update(width=860, sizing_mode="fixed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = browser.new_page(viewport={"width": 900, "height": 400}, device_scale_factor=2)
        page.set_content(file_html(drawn, INLINE))
        page.wait_for_timeout(1000)
        page.locator(".bk-Figure").first.screenshot(path=ROOT / "assets/graph_ends.png")
