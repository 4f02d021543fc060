"""Saves the notebooks as run from a clean kernel, with their pictures; and reads what their text states.

    python tests/tools/lessons.py [notebooks/1_hard_to_quantize.ipynb ...]

What the text of a notebook states is marked where it stands, in a comment that no reader sees:
`<!-- check: expression ± tolerance -->1.23` for the number that follows, `<!-- check: expression -->` for a
statement that must hold. The expression is Python, evaluated after the last cell. A solution is the Python
code of a <details> element.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
from browser import FLAGS, find_browser
from PIL import Image
from served import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TIMEOUT = 900  # seconds a cell may take on a busy machine
TIMEOUT_LIVE = 3600  # where LIVE = True may compute anew what is recorded
WIDTH, SHARPNESS = 860, 1.5  # of a picture: CSS pixels, and device pixels for each
COLORS = 256
CHECK = re.compile(r"<!-- check: (.+?)(?: ± (\S+))? -->(\**[-−+]?\d+(?:,\d{3})*(?:\.\d+)?)?", re.DOTALL)
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
LINK = re.compile(r"\]\(http://localhost:5006/app\?([^)]*)\)")
# Warnings are errors, as in every test; and nothing but the kernel's own machine can be reached.
GUARD = """
import socket, warnings
warnings.simplefilter("error")
def _local_only(connect):
    def call(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"the notebook asked for {address}")
        return connect(self, address)
    return call
socket.socket.connect = _local_only(socket.socket.connect)
del socket, warnings, _local_only
"""
UNGUARD = "import warnings\nwarnings.resetwarnings()"  # the kernel's own end warns


class Statement(NamedTuple):
    """What the text says: an expression, and the number it has within the tolerance; None if it is a fact."""

    expression: str
    number: float | None
    tolerance: float


def text_of(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def statements(notebook) -> list[Statement]:
    found = []
    for expression, tolerance, number in CHECK.findall(text_of(notebook)):
        assert bool(tolerance) == bool(number), f"{expression}: a number needs a tolerance, and the reverse"
        value = float(number.strip("*").replace("−", "-").replace(",", "")) if number else None
        found.append(Statement(expression, value, float(tolerance or 0)))
    return found


def solutions(notebook) -> list[str]:
    return SOLUTION.findall(text_of(notebook))


def links(notebook) -> list[str]:
    """The queries of all links to the dashboard."""
    return LINK.findall(text_of(notebook))


def run(path: Path) -> nbformat.NotebookNode:
    """Execute all cells in a kernel of their own, for the pictures that are saved."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    guard, last = (nbformat.v4.new_code_cell(source) for source in (GUARD, UNGUARD))
    notebook.cells = [guard, *cells, last]
    client = NotebookClient(
        notebook, timeout=TIMEOUT_LIVE, resources={"metadata": {"path": str(FOLDER)}}, record_timing=False
    )
    client.execute(env=os.environ | {"PYTHONPATH": str(ROOT), "NOTEBOOK_PICTURES": "1"})
    notebook.cells = cells
    for number, cell in enumerate((c for c in cells if c.cell_type == "code"), 1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    return notebook


def values(expressions: list[str]) -> str:
    """Code that prints the expressions' values as JSON."""
    return f"import json\nprint('\\n' + json.dumps([float(eval(e)) for e in {expressions!r}]))"


def last_json(printed: str) -> list:
    return json.loads(printed.strip().splitlines()[-1])


def save(path: Path, browser) -> None:
    """Run the notebook and store what it shows as pictures."""
    notebook = run(path)
    page = browser.new_page(viewport={"width": WIDTH, "height": 400}, device_scale_factor=SHARPNESS)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html")
            if html and "<html" in html:
                output["data"] = {"image/png": _picture(page, html), "text/plain": "<picture>"}
                width = {"width": WIDTH}
                output["metadata"] = {"image/png": width}
    page.close()
    nbformat.write(notebook, path)


def _picture(page, html: str) -> str:
    page.set_content(html)
    page.wait_for_function("window.Bokeh?.documents?.length && Bokeh.documents.every((d) => d.is_idle)")
    page.add_style_tag(content="html, body { margin: 0; background: transparent !important; }")
    page.wait_for_timeout(500)
    png = page.screenshot(full_page=True, omit_background=True)
    image = Image.open(io.BytesIO(png))
    box = image.getbbox()  # the page is as high as the window at least
    image = image.crop((0, 0, image.width, min(image.height, box[3] + 8)))
    small = io.BytesIO()
    image.quantize(COLORS, Image.Quantize.FASTOCTREE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def main() -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        for path in map(Path, sys.argv[1:] or NOTEBOOKS):
            save(path, browser)
            print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
        browser.close()


if __name__ == "__main__":
    main()
