"""Texts from files and strangers: nothing of them becomes HTML."""

import subprocess
import sys

import panel as pn

from core.analysis.comparison import COLUMNS
from core.commands.report_html import page
from explorer.jobs.child import describe_exit
from explorer.views.canvas import Window
from explorer.views.tile import Tile

SCRIPT = "<script>alert('&')</script>"


def test_reports_escape_what_they_show():
    row = dict.fromkeys(COLUMNS, "1") | dict.fromkeys(
        ("network", "set", "bits", "variant", "scope", "calibration", "metric", "simulated"), SCRIPT
    )
    html = page([row], {SCRIPT: SCRIPT})
    assert html.count("&lt;script&gt;") >= 9
    assert "<script" not in html


def test_tiles_escape_what_they_show():
    tile = Tile("a", Window())
    tile.label(SCRIPT, True, "red")
    tile.say(SCRIPT)
    shown = "".join(pane.object for pane in tile.panel.select(pn.pane.HTML))
    assert shown.count("&lt;script&gt;") == 2
    assert "<script" not in shown


def test_why_a_process_ended_is_one_sentence(tmp_path):
    log = tmp_path / "log"
    assert describe_exit("sweep", -9, log, True) == (
        "The sweep was killed, probably because memory ran out; start it again to continue."
    )
    log.write_bytes(b"Traceback\n\xff\n  the disk is full; make room, then start again\n")
    assert (
        describe_exit("sweep", 2, log, True)
        == "The sweep stopped: the disk is full; make room, then start again"
    )
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.kill()
    process.communicate()
    assert "was killed" in describe_exit("training", process.returncode, tmp_path / "none", False)
