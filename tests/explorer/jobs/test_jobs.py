import threading
import time

import pytest

from explorer.jobs.cache import shared
from explorer.jobs.latest import LatestWins
from explorer.jobs.token import Cancelled, Token

LONGEST = 200.0  # seconds that anything may take on a busy machine


class CountingToken(Token):
    """One that knows how often it was checked, as whoever waits for another's computation does."""

    checks = 0

    def check(self) -> None:
        self.checks += 1
        super().check()


def wait_for(condition):
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_equal_questions_are_computed_once():
    calls = []

    @shared(10)
    def slow(x, token):
        calls.append(x)
        time.sleep(0.1)
        return x * 2

    answers = []
    threads = [threading.Thread(target=lambda: answers.append(slow(3))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [6] * 5
    assert slow(3) == 6
    assert calls == [3]


def test_cache_is_bounded_by_size_and_skips_what_is_too_large():
    calls = []

    @shared(10, size=len)
    def text(n, token):
        calls.append(n)
        return "x" * n

    for n in (6, 6, 4, 7, 6, 11, 11):
        assert len(text(n)) == n
    assert calls == [6, 4, 7, 6, 11, 11]


def test_errors_reach_every_waiter_and_are_not_cached():
    calls = []

    @shared(10)
    def fails(token):
        calls.append(1)
        time.sleep(0.05)
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            fails()
    assert len(calls) == 2


def test_a_shared_computation_goes_on_while_one_still_waits():
    started, release = threading.Event(), threading.Event()

    @shared(10)
    def work(token):
        started.set()
        release.wait(LONGEST)
        token.progress("working", 0.5)
        return "done"

    leaver, stayer, answers = Token(), CountingToken(), []
    first = threading.Thread(target=lambda: answers.append(work(token=leaver)))
    first.start()
    started.wait(LONGEST)
    second = threading.Thread(target=lambda: answers.append(work(token=stayer)))
    second.start()
    wait_for(lambda: stayer.checks > 1)  # it waits for the first one's computation
    leaver.cancel()
    release.set()
    first.join()
    second.join()
    assert answers == ["done", "done"]


def test_a_computation_that_nobody_wants_stops():
    @shared(10)
    def work(token):
        while True:
            token.progress("working", 0.5)
            time.sleep(0.005)

    token, stopped = Token(), threading.Event()

    def run():
        with pytest.raises(Cancelled):
            work(token=token)
        stopped.set()

    threading.Thread(target=run).start()
    time.sleep(0.05)
    token.cancel()
    assert stopped.wait(LONGEST)


def test_the_latest_request_wins():
    runner, shown, asked = LatestWins(lambda call: call()), [], threading.Event()

    def work(value):
        def run(token, emit):
            asked.wait(LONGEST)  # until all requests are made, however busy the machine is
            token.check()
            emit(value)

        return run

    done = threading.Event()
    for value in range(5):
        runner.submit(work(value), shown.append, shown.append, lambda *_: None, done.set)
    asked.set()
    assert done.wait(LONGEST)
    assert shown == [4]


def test_errors_become_sentences(caplog):
    runner, said = LatestWins(lambda call: call()), []

    def raises(error):
        def run(token, emit):
            raise error

        return run

    runner.submit(raises(ValueError("take more words")), print, said.append, print)
    wait_for(lambda: len(said) == 1)
    runner.submit(raises(KeyError("secret")), print, said.append, print)
    wait_for(lambda: len(said) == 2)
    assert said[0] == "take more words"
    assert "secret" not in said[1]
    assert "secret" in caplog.text


def test_progress_and_cancelling_reach_through_nested_computations():
    told = []

    @shared(10)
    def inner(token):
        for i in range(1000):
            token.progress("inner", i / 1000)
            time.sleep(0.002)

    @shared(10)
    def outer(token):
        return inner(token=token)

    token, stopped = Token(lambda *what: told.append(what)), threading.Event()

    def run():
        with pytest.raises(Cancelled):
            outer(token=token)
        stopped.set()

    threading.Thread(target=run).start()
    wait_for(lambda: len(told) > 3)
    token.cancel()
    assert stopped.wait(LONGEST)
    assert told[0] == ("inner", 0.0)


def test_heavy_work_waits_for_its_turn_and_light_work_does_not():
    release, begun = threading.Event(), []

    @shared(10, heavy=True)
    def heavy(x, token):
        begun.append(x)
        release.wait(LONGEST)
        return x

    @shared(10)
    def light(x, token):
        return x

    answers, impatient = [], Token()
    threads = [threading.Thread(target=lambda x=x: answers.append(heavy(x))) for x in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(begun) == 2)
    late = threading.Thread(target=lambda: answers.append(heavy(2)))
    late.start()
    threading.Timer(0.1, impatient.cancel).start()
    with pytest.raises(Cancelled):
        heavy(3, token=impatient)
    assert light(4) == 4
    assert sorted(begun) == [0, 1]
    release.set()
    for thread in (*threads, late):
        thread.join()
    assert sorted(answers) == [0, 1, 2]
    assert 3 not in begun
