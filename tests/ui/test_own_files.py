"""A visitor's own files on the page."""

import base64
import io
import re

import numpy as np
import pytest
from browser import until
from PIL import Image
from safetensors.torch import save_file

import core

pytestmark = pytest.mark.browser

PASTE = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, {type: 'image/png'}));
  document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: files, bubbles: true}));
}"""


def photo(side: int, seed: int = 0) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


def load(explorer, name: str, content: bytes) -> None:
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    explorer.page.locator("input[type=file]").set_input_files(file)


def chosen(explorer, label: str) -> str:
    return explorer.page.locator(f".bk-input-group:has(label:has-text('{label}')) select").evaluate(
        "(e) => e.selectedOptions[0].textContent"
    )


def shown(explorer, label: str, option: str) -> None:
    """Wait until an own file is chosen, and all that follows from it is drawn."""
    until(lambda: chosen(explorer, label) == option, explorer)
    explorer.settle()


def size(explorer) -> int:
    return explorer.figure("picture float")["data"][0]["dw"][0]


def test_an_image_of_ones_own(explorer, chromium, server):
    explorer.open("?network=xlsr_x3&compared_bits=[8]")
    assert explorer.count("LR, no ground truth") == 0, "it is asked when there is a file"
    limits = explorer.page.locator("details", has_text="up to 24 megapixels")
    folded = limits.bounding_box()["height"]
    explorer.page.get_by_text("Which files, how large, who sees them").click()
    assert limits.bounding_box()["height"] > 2 * folded
    load(explorer, "photo.png", photo(402))
    shown(explorer, "Image", "own: photo.png, as HR")
    until(lambda: explorer.count(r"reduction of photo\.png"), explorer)
    assert size(explorer) == 384
    assert explorer.count("against float SR") == 0
    assert explorer.count("yours is not among them") == 1
    assert explorer.count("HR, ground truth") == 1

    before = explorer.signature("picture float")
    explorer.press("Elsewhere")
    explorer.settle()
    small_map = explorer.page.locator("#sidebar .bk-Figure")
    small_map.wait_for()
    box = small_map.bounding_box()
    explorer.page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.6)
    explorer.after_change(("picture float",), before)
    place = re.search(r"region=(\d+)%2C(\d+)", explorer.page.url)
    explorer.slide("Across", 3)
    moved = f"region={int(place[1]) + 15}%2C{place[2]}"
    until(lambda: moved in explorer.page.url, explorer)
    explorer.settle()

    explorer.press("LR, no ground truth")
    shown(explorer, "Image", "own: photo.png, as LR")
    until(lambda: explorer.count("what the others are scored against"), explorer)
    assert explorer.count("HR, ground truth") == 0
    # Each picture is scored when it comes.
    until(lambda: explorer.count(r"dB · SSIM 0\.\d+ against float SR") == 3, explorer)
    assert explorer.count("there is no ground truth of it") == 1
    explorer.press("Whole image")
    until(lambda: size(explorer) == 3 * 402, explorer)
    explorer.settle()
    assert explorer.count("Worked by tiles of 320×320 LR pixels") == 1
    explorer.page.get_by_text("The same in Python").click()
    assert explorer.count(r"core\.load_image\('photo\.png'\)") == 1

    link = explorer.page.url
    other = chromium.new_page()
    other.goto(link)
    other.get_by_text("Ready", exact=True).wait_for(timeout=60_000)
    assert other.get_by_text("This link asks for photo.png").is_visible()
    assert other.get_by_text("HR, ground truth").is_visible()
    other.close()

    explorer.page.evaluate(PASTE, [base64.b64encode(photo(300, 1)).decode(), "image.png"])
    shown(explorer, "Image", "own: pasted.png, as LR")
    until(lambda: size(explorer) == 384, explorer)
    remove = explorer.page.get_by_role("button", name="Remove")
    remove.nth(1).click()
    until(lambda: remove.count() == 1, explorer)
    shown(explorer, "Image", "astronaut (scikit-image)")
    assert explorer.count("HR, ground truth") == 1


def test_a_network_of_ones_own(explorer, tmp_path):
    path = tmp_path / "mine.safetensors"
    model = core.create_model("xlsr", 3)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    explorer.open("?network=xlsr_x3&compared_bits=[8]&image=chelsea+the+cat+(scikit-image)")
    names = ("heat map", "histogram", "picture float", "picture 4")
    bundled = explorer.signature(*names)
    load(explorer, "mine.safetensors", path.read_bytes())
    shown(explorer, "Network", "own: mine.safetensors")
    assert explorer.count("XLSR ×3, 22 k parameters, your file") == 1
    assert explorer.signature(*names) == bundled, "they are the same weights"

    load(explorer, "mine.safetensors", path.read_bytes()[:5000])
    until(lambda: explorer.count(r"mine\.safetensors is not a readable checkpoint"), explorer)
    assert chosen(explorer, "Network") == "own: mine.safetensors"
    assert explorer.signature(*names) == bundled, "what is wrong changes nothing"

    def drawn_as(name: str) -> dict:
        return (explorer.figure(name) or {"data": [{}]})["data"][0]

    tabs = {
        "Methods": lambda: drawn_as("method percentile").get("image"),
        "Layers": lambda: drawn_as("layers alone").get("rank") == list(range(1, 15)),
        "Training": lambda: explorer.count("Training on this page starts from a bundled network"),
        "Sweep": lambda: explorer.count("files of yours take no part in it"),
    }
    for tab, drawn in tabs.items():
        explorer.press(tab)
        until(drawn, explorer)
