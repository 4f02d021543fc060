import ctypes
import sys
import threading

import numpy as np
import psutil
import pytest

from explorer.jobs import malloc_trim


def rss() -> float:
    return psutil.Process().memory_info().rss / 2**20


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="needs the GNU C library",
)
def test_what_threads_freed_goes_back(monkeypatch):
    monkeypatch.setattr(malloc_trim, "_last", -malloc_trim.PAUSE)
    kept = []

    def work():
        for _ in range(100):
            freed = [np.ones(200_000) for _ in range(20)]
            kept.append((len(freed), np.ones(1000)))  # what is kept lies behind what is freed

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = rss()
    malloc_trim.give_back()
    assert before - rss() > 50


def test_not_at_every_moment(monkeypatch):
    calls = []
    monkeypatch.setattr(malloc_trim, "_last", -malloc_trim.PAUSE)
    monkeypatch.setattr(malloc_trim.ctypes, "CDLL", lambda _: calls.append(1))
    for _ in range(3):
        malloc_trim.give_back()
    assert len(calls) == sys.platform.startswith("linux")
