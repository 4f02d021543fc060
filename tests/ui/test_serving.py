"""What comes when a page is closed, or something between page and server goes wrong."""

import html
import time
from pathlib import Path

import psutil
import pytest
from browser import Explorer, until
from panel.command.serve import build_single_handler_applications
from panel.io.session import generate_session
from served import LONGEST, serve, trainings

import explorer.visit

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.browser
@pytest.mark.slow
def test_a_closed_page_a_refused_connection_a_forgotten_session_and_a_lost_server(chromium, tmp_path):
    # Longer than a busy machine needs from a websocket's opening to its first message.
    options = ("--unused-session-lifetime", "3000", "--check-unused-sessions", "300")
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(1000 * LONGEST)
    closed, page, refused = (context.new_page() for _ in range(3))
    with serve(tmp_path / "log", *options, warm=False) as url:
        training = Explorer(closed, url).open("?tab=training&network=xlsr_x3&train_steps=5000")
        training.press("Start")
        until(trainings, training)
        closed.goto("about:blank")
        until(lambda: not trainings(), training)
        closed.close()
        refused.route_web_socket("**/ws", lambda socket: socket.close())
        refused.clock.install()
        refused.goto(url)
        refused.clock.fast_forward(30_000)
        refused.get_by_role("alert").get_by_text("This page has no connection to the server").wait_for()
        refused.close()
        # The scripts come so late that Bokeh has forgotten the session when its websocket is opened.
        page.route("**/panel.min.js*", lambda route: (time.sleep(5), route.continue_()))
        visitor = Explorer(page, url).open("?network=xlsr_x3&activation_bits=3&compared_bits=[3]")
        assert not visitor.complaints, "nothing is asked of another host"
        assert visitor.count("W3A3")
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        listening = [
            c for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port
        ]
        psutil.Process(listening[0].pid).kill()
        alert = page.get_by_role("alert")
        alert.get_by_text("The connection to the server was lost").wait_for()
        box = alert.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        alert.get_by_role("button", name="Reload").click()
        alert.get_by_text("does not answer yet").wait_for()
        page.route(
            f"{url}*", lambda route: route.fulfill(body="<h1>Here again</h1>", content_type="text/html")
        )
        alert.get_by_role("button", name="Reload").click()
        page.get_by_role("heading", name="Here again").wait_for()
    context.close()


def broken(catalog):
    raise ValueError("edsr_x2.safetensors is not a <readable> checkpoint; download it again")


@pytest.mark.parametrize(
    ("page", "said", "logged"),
    [
        (lambda catalog: 1 / 0, "This page could not be made", "ZeroDivisionError"),
        (broken, "edsr_x2.safetensors is not a &lt;readable&gt; checkpoint; download it again", ""),
    ],
)
def test_a_page_that_cannot_be_made_is_a_sentence(monkeypatch, caplog, page, said, logged):
    monkeypatch.setattr(explorer.visit, "page", page)
    script = str(ROOT / "explorer" / "app.py")
    (app,) = build_single_handler_applications([script], {script: []}).values()
    document = generate_session(app).document
    assert said in html.unescape(document.roots[0].text)
    assert logged in caplog.text
