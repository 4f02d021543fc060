"""What sessions leave behind, without a browser: documents are pulled over the websocket."""

import ctypes
import gc
import itertools
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import panel as pn
import psutil
import pytest
from bokeh.client import pull_session
from served import LONGEST, free_port

from explorer.choices.state import TABS, ExplorerState
from explorer.jobs.latest import QUICK, SLOW
from explorer.jobs.token import Token
from explorer.pipeline import sweep_rows
from explorer.session import Session
from explorer.visit import Visit, page


def live_states() -> int:
    """Count all visitors' states, while no thread computes: torch dies if what it is making is listed."""
    while not (QUICK.idle and SLOW.idle):
        time.sleep(0.05)
    gc.collect()
    return sum(type(thing) is ExplorerState for thing in gc.get_objects())


def visit(url: str) -> None:
    """Open a session of the server, which may still be starting, and close it."""
    end = time.monotonic() + LONGEST
    while True:
        try:
            pull_session(url=url).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


def with_figures():
    """A page whose open tab has figures by HoloViews; `page` has none before it starts."""
    visit = Visit(ExplorerState(tab="sweep"))
    sweeper = visit.made["sweep"].sweeper
    data = sweep_rows.shown("bundled", "edsr_x2", "mean", token=Token())
    sweeper.view.show(data, "kib")
    table = sweep_rows.table("bundled", "edsr_x2", "mean", "activation_bits", "method", "drop", token=Token())
    sweeper.table.show(table, "bits", "method", "dB")
    return visit.tabs


@pytest.mark.parametrize("app", [page, with_figures])
def test_closed_sessions_are_freed(app):
    before = live_states()
    port = free_port()
    server = pn.serve(
        {"app": lambda: app()},
        port=port,
        show=False,
        threaded=True,
        unused_session_lifetime_milliseconds=100,
        check_unused_sessions_milliseconds=100,
    )
    try:
        # In a thread of its own: the browser tests leave an event loop in this one.
        with ThreadPoolExecutor(1) as visitor:
            for _ in range(4):
                visitor.submit(visit, f"http://localhost:{port}/app").result()
        end = time.monotonic() + LONGEST
        while live_states() > before and time.monotonic() < end:
            time.sleep(0.3)
        assert live_states() <= before  # those of other tests may go meanwhile
    finally:
        server.stop()


@pytest.mark.parametrize("tab", TABS)
def test_a_visitor_who_leaves_before_the_page_is_drawn_is_freed(tab):
    state = ExplorerState(tab=tab)
    Visit(state).session.leave()
    left, state = weakref.ref(state), None
    gc.collect()
    assert left() is None


def at_rest(session: Session) -> None:
    end = time.monotonic() + LONGEST
    while session.status.busy:
        assert time.monotonic() < end
        time.sleep(0.01)


def kept() -> tuple[int, int]:
    """Resident bytes but for what is free, and objects."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc's
        trim(0)
    return psutil.Process().memory_info().rss, len(gc.get_objects())


def test_two_hundred_moves_leave_nothing_behind():
    state = ExplorerState(network="xlsr_x3", compared_bits=[4])
    visit = Visit(state)
    session = visit.session
    session.start()
    at_rest(session)
    places = list(itertools.product((3, 4), (0, 1, 2)))

    def move(times: int) -> None:
        for bits, channel in itertools.islice(itertools.cycle(places), times):
            state.param.update(activation_bits=bits, channel=channel)
            at_rest(session)

    move(2 * len(places))  # all that is kept for next time is there
    before, things = kept()
    move(200)
    after, found = kept()
    more = after - before
    print(f"{more / 2**20:.1f} MiB and {found - things} objects more after 200 moves")
    assert found - things < 1000
    assert more < 30 * 2**20
    visit.session.leave()
