from bokeh.server.views.ws import WSHandler

from explorer.websocket import send_at_once


def test_no_frame_waits_for_an_acknowledgement(monkeypatch):
    class Handler:
        def __init__(self):
            self.done = []

        def set_nodelay(self, value):
            self.done.append(("nodelay", value))

    monkeypatch.setattr(WSHandler, "open", lambda self: self.done.append("opened"))
    send_at_once.__wrapped__()
    handler = Handler()
    WSHandler.open(handler)
    assert handler.done == [("nodelay", True), "opened"]
