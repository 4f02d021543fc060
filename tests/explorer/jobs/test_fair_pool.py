import gc
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.jobs import fair_pool
from explorer.jobs.fair_pool import FairPool
from explorer.jobs.token import Token

LONGEST = 200.0  # seconds that anything may take on a busy machine
ROOT = Path(__file__).resolve().parents[3]


class Desk:
    """A pool whose threads are all taken until `open`; notes what starts, and what waiting jobs are told."""

    def __init__(self, threads: int = 1, share: int = 1):
        self.pool, self.gate = FairPool(threads, share, "test"), threading.Event()
        self.started, self.places, self._done = [], {}, threading.Semaphore(0)
        self.number = 0
        for i in range(threads):
            taken = threading.Event()
            self.pool.submit(
                f"first {i}", Token(), lambda taken=taken: (taken.set(), self.gate.wait(LONGEST))
            )
            assert taken.wait(LONGEST)

    def submit(self, visitor, name) -> Token:
        token = Token(lambda what, share: self.places.update({name: int(what.split()[1])}))
        self.pool.submit(visitor, token, lambda: (self.started.append(name), self._done.release()))
        self.number += 1
        return token

    def open(self, fewer: int = 0) -> list:
        """Let the jobs start; their names in the order that they did, when all but `fewer` have."""
        self.gate.set()
        for _ in range(self.number - fewer):
            assert self._done.acquire(timeout=LONGEST)
        return self.started


def until(condition):
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_visitors_take_turns():
    desk = Desk()
    for name in ("a1", "a2", "a3", "b1", "c1", "c2"):
        desk.submit(name[0], name)
    assert desk.open() == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_one_visitor_leaves_threads_to_others():
    pool, busy, most, lock = FairPool(3, 2, "test"), [0], [0], threading.Lock()
    stop, other, done = threading.Event(), threading.Event(), threading.Semaphore(0)

    def work():
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        stop.wait(LONGEST)
        with lock:
            busy[0] -= 1
        done.release()

    for _ in range(5):
        pool.submit("greedy", Token(), work)
    pool.submit("other", Token(), other.set)
    assert other.wait(LONGEST), "the third thread was not free"
    stop.set()
    for _ in range(5):  # what had to wait for the visitor's own jobs is not forgotten
        assert done.acquire(timeout=LONGEST)
    assert most == [2]


def test_what_is_cancelled_before_its_turn_never_starts():
    desk = Desk()
    tokens = [desk.submit("a", "a1"), desk.submit("b", "b1"), desk.submit("c", "c1")]
    tokens[1].cancel()
    assert desk.open(fewer=1) == ["a1", "c1"]
    time.sleep(0.05)
    assert desk.started == ["a1", "c1"]


def test_places_are_told_and_fall_as_others_leave(monkeypatch):
    monkeypatch.setattr(fair_pool, "MIN_REPORT_INTERVAL", 0.0)
    desk = Desk()
    first = desk.submit("a", "a1")
    for name in ("b1", "c1", "c2"):
        desk.submit(name[0], name)
    assert desk.places == {"b1": 1, "c1": 2, "c2": 3}
    first.cancel()
    desk.submit("d", "d1")
    assert desk.places == {"b1": 1, "c1": 1, "c2": 3, "d1": 2}  # b1 is next, of which nothing is said
    desk.open(fewer=1)


def test_places_are_told_now_and_then():
    told = []
    desk = Desk()
    for i in range(20):
        desk.submit(f"before {i}", i)
    desk.pool.submit("late", Token(lambda what, share: told.append((what, share))), lambda: None)
    desk.open()
    assert told == [("Waiting: 20 jobs ahead of yours", None)]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_the_place_told_is_the_place_taken(visitors):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fair_pool, "MIN_REPORT_INTERVAL", 0.0)
        desk = Desk()
        for name, visitor in enumerate(visitors):
            desk.submit(visitor, name)
        places = {name: desk.places.get(name, 0) for name in range(len(visitors))}
        started = desk.open()
    assert {name: place for place, name in enumerate(started)} == places


def test_a_job_that_fails_holds_up_nobody(caplog):
    desk = Desk()
    desk.pool.submit("a", Token(), lambda: 1 / 0)
    desk.submit("a", "a2")
    assert desk.open() == ["a2"]
    assert "ZeroDivisionError" in caplog.text


def test_a_job_that_fails_since_the_server_ends_says_nothing(caplog, monkeypatch):
    monkeypatch.setattr(fair_pool, "server_ends", lambda: True)
    desk = Desk()
    desk.pool.submit("a", Token(), lambda: 1 / 0)
    desk.submit("a", "a2")
    assert desk.open() == ["a2"]
    assert not caplog.text


def test_the_program_ends_though_long_work_is_under_way():
    script = """
import threading, time
from explorer.jobs.latest import QUICK, SLOW
from explorer.jobs.token import Token
token, begun = Token(), threading.Event()
def work():
    begun.set()
    while True:
        token.check()
        time.sleep(0.01)
SLOW.submit("a", token, work)
QUICK.submit("a", Token(), lambda: None)
begun.wait()
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=LONGEST, check=True, capture_output=True)


def test_a_visitor_who_left_is_forgotten():
    class Visitor:
        pass

    pool, done, visitor = FairPool(1, 1, "test"), threading.Event(), Visitor()
    gone = weakref.ref(visitor)
    pool.submit(visitor, Token(), done.set)
    del visitor
    assert done.wait(LONGEST)
    until(lambda: (gc.collect(), gone())[1] is None)
