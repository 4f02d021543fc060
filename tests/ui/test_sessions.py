"""What sessions leave behind, without a browser: documents are pulled over the websocket."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import panel as pn
from bokeh.client import pull_session
from browser import free_port

from explorer.layout import page
from explorer.state import ExplorerState


def live_states() -> int:
    gc.collect()
    return sum(type(thing) is ExplorerState for thing in gc.get_objects())


def visit(url: str) -> None:
    """Open a session of the server, which may still be starting, and close it."""
    end = time.monotonic() + 20
    while True:
        try:
            pull_session(url=url).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_closed_sessions_are_freed():
    before = live_states()
    port = free_port()
    server = pn.serve(
        {"app": lambda: page()},
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
        end = time.monotonic() + 20
        while live_states() > before and time.monotonic() < end:
            time.sleep(0.3)
        assert live_states() == before
    finally:
        server.stop()
