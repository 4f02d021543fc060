"""Arrays kept on disk between servers: bounded in size, safe against kills and other processes."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from explorer.jobs.child import ROOT

log = logging.getLogger(__name__)
MAX_BYTES, MAX_FILES = 10**9, 5000
TRIM_EVERY = 50  # files written: looking at all of them takes some time
ENDING, PARTIAL = ".npz", ".partial"
ABANDONED = 3600.0  # seconds after which half a file is nobody's any more


_since_trim = TRIM_EVERY  # so that the first file of a process counts the others


def folder() -> Path | None:
    """Return where results are kept: EXPLORER_CACHE if it is set (empty: nowhere), else .cache/explorer."""
    place = os.environ.get("EXPLORER_CACHE")
    if place is None:
        return ROOT / ".cache" / "explorer"
    return Path(place) if place else None


def read(key: str) -> dict[str, np.ndarray] | None:
    """Return the arrays of a key; None if there are none, or their file is damaged."""
    if (place := folder()) is None:
        return None
    path = place / f"{key}{ENDING}"
    try:
        # Its checksums are compared. Opened here, since NumPy leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        os.utime(path)  # what was not read for longest is deleted first
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged file makes of the reader
        log.warning("%s is computed anew, since its file is damaged (%s)", path.name, error)
        return None
    return found


def write(key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays under a key; where that is not possible, say so in the log and go on."""
    global _since_trim
    if (place := folder()) is None:
        return
    partial = None
    try:
        place.mkdir(parents=True, exist_ok=True)
        # A name of its own: another process may write the same.
        with tempfile.NamedTemporaryFile(dir=place, prefix=key, suffix=PARTIAL, delete=False) as file:
            partial = Path(file.name)
            np.savez(file, **arrays)
        os.replace(partial, place / f"{key}{ENDING}")
        _since_trim += 1
        if _since_trim >= TRIM_EVERY:
            _since_trim = 0
            _trim(place)
    except OSError as error:
        log.warning("results cannot be kept in %s (%s); they are computed anew each time", place, error)
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _trim(place: Path) -> None:
    """Delete what was not used for longest until the rest is small enough, and half-written files."""
    files = []
    for path in place.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            stat = path.stat()
            if path.suffix == ENDING:
                files.append((stat.st_mtime_ns, stat.st_size, path))
            elif path.suffix == PARTIAL and stat.st_mtime < time.time() - ABANDONED:
                path.unlink()
    files.sort()
    held = sum(size for _, size, _ in files)
    for left, (_, size, path) in zip(range(len(files), 0, -1), files, strict=True):
        if held <= MAX_BYTES and left <= MAX_FILES:
            break
        path.unlink(missing_ok=True)
        held -= size
