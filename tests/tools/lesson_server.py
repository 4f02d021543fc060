"""Runs notebooks for the tests, each in a process of its own that has imported what notebooks import.

`python tests/tools/lesson_server.py`, with tests/pages on Python's path, reads a request a line, {"path",
"then", "printed"}, and answers each with an exit status: 0 when all cells and then the code `then` ran, whose
print is in the file `printed`. What a cell shows, or why it failed, goes to standard error. Jupyter's own
part has its test in JupyterLab (tests/ui).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from lessons import FOLDER, GUARD, TIMEOUT

os.chdir(FOLDER)
sys.path.insert(0, str(FOLDER))
import lesson  # noqa: E402, F401 (for all notebooks, once: panel, torch and the project with it)


def run(path: Path, then: str, printed: Path) -> None:
    """Run all cells, each within TIMEOUT seconds, and then the code."""
    shell = InteractiveShell.instance(colors="nocolor")
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for source in [GUARD, *cells]:
        signal.alarm(TIMEOUT)
        shell.run_cell(source, store_history=True).raise_error()
    signal.alarm(TIMEOUT)
    with printed.open("w") as out, contextlib.redirect_stdout(out):
        shell.run_cell(then).raise_error()


def in_a_fork(path: str, then: str, printed: str) -> int:
    """Exit status of a process that runs the notebook."""
    assert threading.active_count() == 1, "a fork takes no thread along"
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        os.dup2(2, 1)  # standard output is for the answers
        run(Path(path), then, Path(printed))
        status = 0
    except BaseException as error:  # IPython has shown where
        print(repr(error), file=sys.stderr)
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    for line in sys.stdin:
        print(in_a_fork(**json.loads(line)), flush=True)
