"""The sweeps of this server: saved by name, and run one at a time in a process of their own.

A private one is of a visitor's own files: its name cannot be guessed, it lies in a temporary folder, and it
goes with the page that started it.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import yaml

from core.sweep.store import parts
from core.utils.files import replace_file
from explorer.jobs.cache import forget
from explorer.jobs.child import ROOT, Child
from explorer.jobs.sweep_worker import GRID

FOLDER = ROOT / "runs" / "sweeps"
BUNDLED = "bundled"
BUNDLED_ROWS = ROOT / "assets" / "sweep.parquet"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
LOG = "_log.out"
MAX_ROWS = 5000  # of a sweep that is started from the page
PRIVATE = "private-"
_private: dict[str, Private] = {}
_lock = threading.Lock()
_current: Run | None = None


class Private(NamedTuple):
    """A visitor's own sweep: its folder, its title, and the keys of the files by what the rows call them."""

    folder: tempfile.TemporaryDirectory
    title: str
    networks: dict[str, str]
    images: dict[str, str]


def place(name: str) -> Path:
    """Return the path of a sweep's rows; ValueError for an invalid name."""
    if name == BUNDLED:
        return BUNDLED_ROWS
    if name in _private:
        return Path(_private[name].folder.name)
    if not NAME.fullmatch(name):
        raise ValueError("A sweep's name has 1 to 40 letters, digits, - or _; choose another one")
    return FOLDER / name


def names() -> list[str]:
    """List every sweep that can be shown, the newest first; the bundled one last."""
    kept = [path for path in FOLDER.glob("*") if NAME.fullmatch(path.name) and path.is_dir()]
    kept.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [*(path.name for path in kept if path.name != BUNDLED), BUNDLED]


def title(name: str) -> str:
    """Return what people call a sweep."""
    return f"{_private[name].title} (yours alone)" if name in _private else name


def own_keys(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the keys of a visitor's networks and images in a private sweep, by what its rows call them."""
    return (_private[name].networks, _private[name].images) if name in _private else ({}, {})


def version(name: str) -> tuple:
    """Return a value that changes whenever rows are added."""
    path = place(name)
    files = [path] if path.is_file() else parts(path) if path.is_dir() else []
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def read_progress(folder: Path) -> list[tuple[int, int]]:
    """Read what the process of a sweep reported: (rows done, rows in all) of each report."""
    log = folder / LOG
    if not log.is_file():
        return []
    lines = [line.split() for line in log.read_text(errors="replace").splitlines()]
    return [(int(line[0]), int(line[1])) for line in lines if len(line) == 2 and all(map(str.isdigit, line))]


def last_progress(name: str) -> tuple[int, int]:
    """Return the rows done and in all of the last report; (0, 0) if there is none, or no such sweep."""
    found = read_progress(place(name)) if NAME.fullmatch(name) else []
    return found[-1] if found else (0, 0)


class Run:
    """One sweep under way, and how far it is."""

    def __init__(self, name: str, child: Child):
        self.name, self._child = name, child
        self.cancelled = False
        self._first: tuple[float, int] | None = None  # when, and how many rows were there

    @property
    def alive(self) -> bool:
        """Whether the sweep is running."""
        return self._child.alive

    def cancel(self) -> None:
        """Stop the sweep; its rows so far are saved."""
        self.cancelled = True
        self._child.stop()

    def kill(self) -> None:
        """Kill the process at once."""
        self.cancelled = True
        self._child.kill()

    def progress(self) -> tuple[int, int]:
        """Return the rows done and in all; (0, 0) while it starts."""
        if self._first is None and (found := read_progress(place(self.name))):
            self._first = (time.monotonic(), found[0][0])
        return last_progress(self.name)

    def seconds_left(self) -> float | None:
        """Estimate the remaining time at the rate so far; None before there is one."""
        done, total = self.progress()
        if self._first is None or done <= self._first[1]:
            return None
        return (total - done) * (time.monotonic() - self._first[0]) / (done - self._first[1])

    def problem(self) -> str:
        """Say why the sweep ended early; empty if it did not, or was cancelled."""
        return "" if self.cancelled else self._child.problem(kept=True)


def current() -> Run | None:
    """Return the sweep under way, or the last one."""
    return _current


def start(name: str, grids: list[dict]) -> Run:
    """Start a sweep, or continue it; ValueError while another one is running, OSError on a full disk."""
    if name == BUNDLED:
        raise ValueError("The bundled sweep cannot be changed; give yours another name")
    return _begin(name, yaml.safe_dump(grids, sort_keys=False))


def reserve_private(title: str) -> str:
    """Make the folder of a private sweep; return its name, which nobody can guess."""
    if not NAME.fullmatch(title):
        place(title)  # says what a title may be
    name = f"{PRIVATE}{secrets.token_hex(12)}"
    _private[name] = Private(tempfile.TemporaryDirectory(prefix="explorer-sweep-"), title, {}, {})
    return name


def start_private(name: str, grids: list[dict], networks: dict[str, str], images: dict[str, str]) -> Run:
    """Start a private sweep; networks, images: keys by what the rows will call them. Errors as of `start`."""
    _private[name].networks.update(networks)
    _private[name].images.update(images)
    return _begin(name, yaml.safe_dump(grids, sort_keys=False))


def end_private(name: str) -> None:
    """End a private sweep and delete all of it; nothing for a name that is none."""
    with _lock:
        found = _private.pop(name, None)
        if found is None:
            return
        if _current is not None and _current.name == name:
            _current.kill()
    found.folder.cleanup()
    forget(name)


def delete(name: str) -> None:
    """Delete a sweep with all its rows; ValueError for the bundled one, for one that runs, and for none."""
    if name == BUNDLED:
        raise ValueError("The bundled sweep cannot be deleted; choose another one")
    folder = place(name)
    with _lock:
        if _current is not None and _current.alive and _current.name == name:
            raise ValueError(f"The sweep {title(name)} is running; cancel it, then delete it")
        if name not in _private:
            if not folder.is_dir():
                raise ValueError(f"There is no sweep named {name}; choose another one")
            gone = folder.with_name(f".deleted-{secrets.token_hex(4)}")  # at once for every reader
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
            forget(name)
    end_private(name)


def refuse_while_running() -> None:
    """Raise ValueError while a sweep is running."""
    if _current is not None and _current.alive:
        private = _current.name in _private  # whose name is a secret
        which = "A sweep of somebody's own files" if private else f"The sweep {_current.name}"
        raise ValueError(f"{which} is running on this server; wait until it ends, or cancel it")


def go_on(name: str) -> Run:
    """Continue a sweep that was stopped, from its saved grid; errors as of `start`."""
    grid = place(name) / GRID
    if not grid.is_file():
        raise ValueError(f"The grid of the sweep {name} was not saved; choose it again and press Start")
    return _begin(name, grid.read_text())


def _begin(name: str, grid: str) -> Run:
    global _current
    folder = place(name)
    with _lock:
        refuse_while_running()
        replace_file(folder / GRID, grid.encode())
        log = folder / LOG
        errors = log.with_suffix(".err")
        child = Child("sweep", "explorer.jobs.sweep_worker", str(folder), log=errors, out=log)
        _current = Run(name, child)
    return _current
