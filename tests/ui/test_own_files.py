"""A visitor's own files on the page: brought by a dialog and from the clipboard, sent, shown, taken off."""

import base64
import re

import pytest
from browser import until
from headless import photo
from safetensors.torch import save_file
from served import LONGEST

import core

pytestmark = pytest.mark.browser

PASTE = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, {type: 'image/png'}));
  document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: files, bubbles: true}));
}"""


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


def test_files_of_ones_own(explorer, chromium, tmp_path):
    explorer.open('?network=xlsr_x3&compared_bits=[8]&references=["hr","float"]')
    assert explorer.count("LR without HR") == 0, "it is asked when there is a file"
    explorer.press("Images and networks: which, how large")
    explorer.page.get_by_text("up to 24 megapixels").wait_for()
    load(explorer, "photo.png", photo(402))
    shown(explorer, "Image", "own: photo.png, as HR")
    until(lambda: size(explorer) == 384, explorer)
    choose_a_place(explorer)
    explorer.press("LR without HR")
    shown(explorer, "Image", "own: photo.png, as LR")
    explorer.shows("HR, ground truth", 0)

    other = chromium.new_page()
    other.set_default_timeout(1000 * LONGEST)
    other.goto(explorer.page.url)
    other.get_by_text("This link uses photo.png").wait_for()
    other.get_by_text("HR, ground truth").first.wait_for()
    other.close()

    explorer.page.evaluate(PASTE, [base64.b64encode(photo(300, 1)).decode(), "image.png"])
    shown(explorer, "Image", "own: pasted.png, as LR")
    remove = explorer.page.get_by_role("button", name="Remove")
    until(lambda: remove.count() == 2, explorer)
    remove.nth(1).click()
    until(lambda: remove.count() == 1, explorer)
    shown(explorer, "Image", "astronaut (scikit-image)")

    path = tmp_path / "mine.safetensors"
    save_file({k: v.contiguous() for k, v in core.create_model("xlsr", 3).state_dict().items()}, path)
    load(explorer, "mine.safetensors", path.read_bytes())
    shown(explorer, "Network", "own: mine.safetensors")
    explorer.shows("XLSR ×3, 22 k parameters, your file", 1)


def choose_a_place(explorer) -> None:
    """On the small map, and then by a slider."""
    explorer.press("Elsewhere")
    explorer.page.wait_for_function("location.search.includes('region=500%2C500')")
    explorer.tap("place", 0.4, 0.6, lambda: "region=500%2C500" not in explorer.page.url)
    place = re.search(r"region=(\d+)%2C(\d+)", explorer.page.url)
    explorer.slide("Across", 3)
    until(lambda: f"region={int(place[1]) + 15}%2C{place[2]}" in explorer.page.url, explorer)
    explorer.settle()
