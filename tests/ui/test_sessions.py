"""What sessions leave behind, without a browser: documents are pulled over the websocket."""

import gc
import time

import panel as pn
from bokeh.client import pull_session
from browser import free_port

from explorer.layout import page
from explorer.state import ExplorerState


def live_states() -> int:
    gc.collect()
    return sum(type(thing) is ExplorerState for thing in gc.get_objects())


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
        for _ in range(4):
            session = pull_session(url=f"http://localhost:{port}/app")
            assert live_states() > before
            session.close()
        end = time.monotonic() + 20
        while live_states() > before and time.monotonic() < end:
            time.sleep(0.3)
        assert live_states() == before
    finally:
        server.stop()
