"""A notebook in JupyterLab, in a real browser: its widgets move its figures, also while cells still run."""

import nbformat
import pytest
from lab import SECONDS, begin, jupyterlab, ran
from served import ROOT

pytestmark = pytest.mark.browser

# Cells with a figure, a text, and a layout of figures that follow widgets.
CELLS = {
    "2_universal_sets": ("start()", "def universal_set", "def draw_set", "def write_down"),
    "5_odm": ("start()", "elements.CURVES"),
}
LAST = "import pathlib, time\nwhile not pathlib.Path('end').exists():\n    time.sleep(0.1)"  # of long cells
WAITS = "a move waits until the last one has run"
SHOWS = """(text) => window.Bokeh?.documents.flatMap((d) => [...d._all_models.values()])
    .some((m) => typeof m.text == 'string' && m.text.includes(text))"""


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab on a copy of the notebooks."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for path in (ROOT / "notebooks").glob("[!.]*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    with jupyterlab(folder, tmp_path) as url:
        yield url


def excerpt():
    """A notebook of the CELLS."""
    chosen = None
    for name, marks in CELLS.items():
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        cells = [c for c in notebook.cells if c.cell_type == "code" and any(m in c.source for m in marks)]
        assert len(cells) == len(marks)
        chosen = chosen or nbformat.v4.new_notebook(metadata=notebook.metadata)
        chosen.cells += [nbformat.v4.new_code_cell(c.source) for c in cells]
    chosen.cells.append(nbformat.v4.new_code_cell(LAST))
    return chosen


def test_widgets_move_what_they_should(lab, chromium, tmp_path):
    nbformat.write(excerpt(), tmp_path / "notebooks" / "excerpt.ipynb")
    context = chromium.new_context(viewport={"width": 1300, "height": 1600})
    page = context.new_page()
    strangers = []
    page.on(
        "request",
        lambda r: None if r.url.startswith((lab, "data:", "blob:", "ws:")) else strangers.append(r.url),
    )
    cells = sum(map(len, CELLS.values())) + 1
    begin(page, lab, "excerpt.ipynb")

    def shows(text):
        page.wait_for_function(SHOWS, arg=text, timeout=SECONDS * 1000)

    def slide(label):
        page.locator(f".bk-input-group:has(.bk-slider-title:has-text('{label}')) .noUi-handle").press(
            "ArrowRight"
        )

    shows("4 words of 4 terms: 377 values")
    page.get_by_text(WAITS).first.wait_for(timeout=SECONDS * 1000)
    slide("Words")
    assert not page.evaluate(SHOWS, "5 words of 4 terms")
    (tmp_path / "notebooks" / "end").touch()
    ran(page, cells)
    shows("5 words of 4 terms: 1,065 values")
    page.get_by_text(WAITS).first.wait_for(state="hidden", timeout=SECONDS * 1000)
    slide("Point number")
    shows("0.3125 · x")
    shows("Input of body.3.body.0")
    page.locator(".bk-input-group:has(label:has-text('Layer')) select").select_option("body.0.body.0")
    shows("Input of body.0.body.0")
    context.close()
    assert not strangers
