"""Texts from files and strangers: nothing of them becomes HTML, and nothing of a file is unpickled."""

import re
import subprocess
import sys
from pathlib import Path

from core.analysis.comparison import COLUMNS
from core.commands.report_html import page
from explorer.jobs.child import ended
from explorer.views.canvas import Tile, Window

ROOT = Path(__file__).resolve().parents[1]
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
    shown = tile._name.object + tile._score.object
    assert shown.count("&lt;script&gt;") == 2
    assert "<script" not in shown


def test_why_a_process_ended_is_one_sentence(tmp_path):
    log = tmp_path / "log"
    assert ended("sweep", -9, log, True) == (
        "The sweep was killed, as the system does when memory is short; Start goes on from what was kept."
    )
    log.write_bytes(b"Traceback\n\xff\n  the disk is full; make room, then start again\n")
    assert ended("sweep", 2, log, True) == "The sweep stopped: the disk is full; make room, then start again"
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.kill()
    process.communicate()
    assert "was killed" in ended("training", process.returncode, tmp_path / "none", False)


def test_nothing_is_unpickled_but_what_workers_send_each_other():
    found = []
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "explorer").rglob("*.py")]:
        text = path.read_text()
        found += [path.name for _ in re.finditer(r"pickle\.loads?\(|Unpickler|read_pickle|joblib", text)]
        loads = re.findall(r"(?<!`)(?<!safetensors\.)torch\.load\(.*", text)
        assert all("weights_only=True" in call for call in loads), path
    assert found == ["sweep_tasks.py"]
