"""Every notebook runs in a process of its own, without the net, and computes what its text states."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl

import nbformat
import pytest
from lessons import FOLDER, NOTEBOOKS, ROOT, last_json, links, solutions, statements, text_of, values
from PIL import Image

from explorer.choices.state import ExplorerState

pytestmark = pytest.mark.slow
MOST_BYTES = 6e6  # of all notebooks
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def saved(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run all cells of a notebook, then some code; what that printed."""
    folder = tmp_path_factory.mktemp("lessons")
    log, printed = folder / "log", folder / "printed"
    with log.open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/tools/lesson_server.py")],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/pages")])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def run(path: Path, then: str) -> str:
        before = log.stat().st_size
        request = {"path": str(path), "then": then, "printed": str(printed)}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        assert server.stdout.readline() == "0\n", log.read_text()[before:]
        return printed.read_text()

    with server:
        yield run
        server.stdin.close()


@by_name
def test_text_states_what_the_cells_compute(path, run):
    stated = statements(saved(path))
    code = "\n".join([*solutions(saved(path)), values([s.expression for s in stated])])
    printed = run(path, code)
    wrong = []
    for statement, value in zip(stated, last_json(printed), strict=True):
        if statement.number is None:
            holds = value == 1
        else:
            holds = abs(value - statement.number) <= statement.tolerance
        if not holds:
            wrong.append(f"{statement.expression} is {value}, but the text says {statement.number}")
    assert not wrong, "\n".join(wrong)


@by_name
def test_form(path):
    notebook = saved(path)
    text = text_of(notebook)
    assert text.startswith("# "), "a title comes first"
    assert "**The question:**" in notebook.cells[0].source
    assert len(solutions(notebook)) == text.count("<details>") == 3, "three exercises, each with its solution"
    assert len(statements(notebook)) >= 8
    assert links(notebook)
    assert not re.search(r"^ *<!--", text, re.MULTILINE), "a comment that begins a line ends the paragraph"


@by_name
def test_links_open_a_state_of_the_dashboard(path):
    for query in links(saved(path)):
        state = ExplorerState()
        for name, value in parse_qsl(query, strict_parsing=True):
            kind = type(getattr(state, name))
            setattr(state, name, int(value) if kind is int else value)  # ValueError for what is not there


@by_name
def test_saved_outputs_read_without_running(path):
    notebook = saved(path)
    pictures = 0
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        assert cell.execution_count == number, "saved from one run, top to bottom"
        for output in cell.outputs:
            assert output.output_type != "error"
            assert not {"text/html", "application/javascript"} & set(output.get("data", {}))
            assert output.get("name") != "stderr"
            if "image/png" in output.get("data", {}):
                pictures += 1
                image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                assert len(image.convert("RGBA").getcolors(2**24)) > 8
    assert pictures >= 3


def test_all_notebooks_are_small():
    assert len(NOTEBOOKS) == 7
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < MOST_BYTES
