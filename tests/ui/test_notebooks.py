"""A notebook in JupyterLab, in a real browser: it runs, and its widgets move its figures."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest
from browser import ROOT, free_port

pytestmark = pytest.mark.browser

NOTEBOOK = "2_universal_sets.ipynb"
CELLS = 6  # up to the first widget
SECONDS = 120


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab on a copy of the notebooks, with settings of its own."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for path in (ROOT / "notebooks").glob("[!.]*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    command = [
        sys.executable, "-m", "jupyter", "lab", str(folder), "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.password=",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(4 * SECONDS):
            try:
                urllib.request.urlopen(f"{url}/api", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.25)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_a_widget_moves_its_figure(lab, chromium):
    context = chromium.new_context(viewport={"width": 1300, "height": 1600})
    page = context.new_page()
    strangers = []
    page.on(
        "request",
        lambda r: None if r.url.startswith((lab, "data:", "blob:", "ws:")) else strangers.append(r.url),
    )
    page.goto(f"{lab}/lab/tree/{NOTEBOOK}")
    page.locator(".jp-Notebook").wait_for(timeout=SECONDS * 1000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=SECONDS * 1000)
    page.locator(".jp-Cell").first.click()
    for _ in range(CELLS):
        page.keyboard.press("Shift+Enter")
    slider = page.locator(".bk-input-group:has(.bk-slider-title:has-text('Words')) .noUi-handle")
    slider.wait_for(timeout=SECONDS * 1000)
    title = """() => Bokeh.documents.flatMap((d) => [...d._all_models.values()])
        .filter((m) => m.type == 'Title').map((m) => m.text).filter((t) => t.includes('words of'))"""
    page.wait_for_function(f"({title})().includes('4 words of 4 terms: 377 values')", timeout=SECONDS * 1000)
    slider.press("ArrowLeft")
    page.wait_for_function(f"({title})().includes('3 words of 4 terms: 107 values')", timeout=SECONDS * 1000)
    context.close()
    assert not strangers
