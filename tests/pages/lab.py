"""A JupyterLab of its own for the browser tests."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
from served import ROOT, free_port

SECONDS = 180
IDLE = "Python 3 (ipykernel) | Idle"


@contextlib.contextmanager
def jupyterlab(folder: Path, place: Path):
    """Address of a JupyterLab that shows `folder`, with settings of its own below `place`."""
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}",
        "JUPYTER_CONFIG_DIR": str(place / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(place / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(place / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(place / "runtime"),
    }
    command = [
        sys.executable, "-m", "jupyter", "lab", str(folder), "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.password=",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    log = place / "log"
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


def write_notebook(path: Path, *cells: str) -> None:
    """Write a notebook of these code cells."""
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, path)


def run_all(page, url: str, name: str, cells: int) -> None:
    """Open a notebook, and run all of its cells to the end."""
    begin(page, url, name)
    ran(page, cells)


def ran(page, cells: int) -> None:
    """Wait until the last of so many cells has run."""
    page.locator(".jp-InputPrompt", has_text=f"[{cells}]:").wait_for(timeout=SECONDS * 1000)


def begin(page, url: str, name: str) -> None:
    """Open a notebook and let all of its cells run."""
    page.goto(f"{url}/lab/tree/{name}")
    page.locator(".jp-Notebook").wait_for(timeout=SECONDS * 1000)
    page.get_by_text(IDLE).wait_for(timeout=SECONDS * 1000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
