"""The dashboard served for tests: one server for all workers, and what its log and its processes tell."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 400  # seconds that anything may take on a busy machine
# As `make app` serves.
SERVE = re.search(r"^SERVE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def serve(log: Path, *options: str, script: str | Path = "explorer/app.py", warm: bool = True):
    """Serve the dashboard or a script while the context is open; its address. `options`: of `panel serve`.

    warm: whether what a new visitor sees first is computed at once.
    """
    port = free_port()
    # The script, as `panel serve` on a command line: it does not look for modules here by itself.
    panel = [str(Path(sys.executable).with_name("panel"))]
    command = [
        *(panel if warm else [sys.executable, str(Path(__file__).with_name("cold_server.py"))]),
        "serve",
        str(script),
        "--address",
        "127.0.0.1",
        "--port",
        str(port),
        *SERVE,
        *options,
    ]
    environment = os.environ | {"MALLOC_ARENA_MAX": "2"}
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://localhost:{port}/{Path(script).stem}"
    try:
        for _ in range(4 * LONGEST):
            try:
                urllib.request.urlopen(url, timeout=30).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.25)
        else:
            raise TimeoutError(f"the server did not start:\n{log.read_text()}")
        yield url
    finally:
        process.terminate()
        process.wait(LONGEST)


def faults(log: str) -> int:
    """How many tracebacks a server's log holds, but for Tornado's and Bokeh's own: a page is closed while
    something is on its way to it, or from it.
    """
    late = 2 * log.count("tornado.websocket.WebSocketClosedError\n")
    return max(0, log.count("Traceback") - late - log.count("    assert self._session is not None\n"))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Address of a dashboard served for this run, whose log must hold no traceback.

    One for all workers of xdist: the first to need it serves, and waits at its end until no other does.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # of all workers
    log, address, users = (place / f"server-{name}" for name in ("log", "address", "users"))
    with FileLock(place / "server-lock"):
        mine = not address.exists()
        stack = contextlib.ExitStack()
        if mine:
            address.write_text(stack.enter_context(serve(log)))
        _count(users, 1)
    yield address.read_text()
    with FileLock(place / "server-lock"):
        _count(users, -1)
    if mine:
        while not _over(place, address, users):
            time.sleep(0.2)
        stack.close()
        text = log.read_text()
        assert not faults(text), text


def _over(place: Path, address: Path, users: Path) -> bool:
    """Whether nobody uses the server; whoever comes later starts another."""
    with FileLock(place / "server-lock"):
        if int(users.read_text()):
            return False
        address.unlink()
        return True


def _count(file: Path, more: int) -> None:
    file.write_text(str((int(file.read_text()) if file.exists() else 0) + more))


def trainings():
    """The processes that train for this run's servers; another run may be under way beside it."""
    found, run = [], psutil.Process()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent()  # another worker may have started the server
    for process in run.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "explorer.jobs.training_worker" in process.cmdline():
                found.append(process)
    return found
