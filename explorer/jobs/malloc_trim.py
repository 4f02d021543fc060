"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

PAUSE = 10.0  # seconds between two calls: each looks through all of the heap
_lock = threading.Lock()
_last = -PAUSE


def give_back() -> None:
    """Return what is free to the system, on Linux, at most every PAUSE seconds.

    glibc keeps a heap a thread and most of what was freed in it: after some large calibrations that was twice
    what the caches hold.
    """
    global _last
    if not sys.platform.startswith("linux") or not _lock.acquire(blocking=False):
        return
    try:
        if time.monotonic() - _last >= PAUSE:
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
            if trim is not None:
                trim(0)
            _last = time.monotonic()
    finally:
        _lock.release()
