"""Cards and scripts of the files for a phone; scripts run where nothing of this project can be imported."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from core import LitertNetwork, psnr_y
from core.images import to_tensor
from explorer.choices.region import CENTRE
from explorer.choices.state import IMAGE_NAMES
from explorer.export import deployment as along
from explorer.pipeline import deployment
from explorer.pipeline.deployment import LITERT, ONNX, Plan

PLAN = Plan("xlsr_x3", "random", 8, (), (), (64, 48))
IMAGE = next(iter(IMAGE_NAMES.values()))
needs_litert = pytest.mark.skipif(
    not deployment.is_there(LITERT), reason="LiteRT is not installed: pip install '.[litert]'"
)
# Imports nothing but what the script needs, and says so if it tries.
CLEAN = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "core", "explorer", "onnx", "panel", "litert_torch"}:
            raise ModuleNotFoundError(f"{name} is of the project")
sys.meta_path.insert(0, Refuse())
script, sys.argv = sys.argv[1], sys.argv[1:]
runpy.run_path(script, run_name="__main__")
"""
ENGINES = [ONNX, pytest.param(LITERT, marks=[needs_litert, pytest.mark.filterwarnings("ignore")])]


def run(folder, size):
    height, width = size
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([128 + 100 * np.sin(x / 9), 128 + 100 * np.cos(y / 7), 2 * (x + y) % 256], 2)
    Image.fromarray(rgb.astype(np.uint8)).save(folder / "lr.png")
    command = [sys.executable, "-I", "-c", CLEAN, "run.py", "lr.png", "sr.png"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_script_runs_the_file_with_nothing_of_this_project(engine, tmp_path):
    variant = deployment.offered(PLAN.network, engine)
    content = deployment.file(PLAN, variant)
    (tmp_path / PLAN.file_name(variant, along.SUFFIXES[engine])).write_bytes(content)
    (tmp_path / "run.py").write_text(along.script(PLAN, engine))
    ended = run(tmp_path, PLAN.size)
    assert ended.returncode == 0, ended.stderr
    sr = to_tensor(np.array(Image.open(tmp_path / "sr.png")))
    lr = to_tensor(np.array(Image.open(tmp_path / "lr.png")))
    assert psnr_y(sr, deployment.runnable(content, variant)(lr).clamp(0, 1), border=3) > 50
    if engine == LITERT:
        assert LitertNetwork(content).size == PLAN.size
        ended = run(tmp_path, (40, 50))
        assert ended.returncode == 1
        assert ended.stderr.strip().splitlines()[-1].endswith(".tflite takes 48x64 pixels, got 50x40")


@pytest.mark.parametrize("engine", [ONNX, LITERT])
def test_a_script_is_short(engine):
    lines = along.script(PLAN, engine).splitlines()
    compile("\n".join(lines), "run.py", "exec")
    statements = [line for line in lines if line and not line.startswith(("#", "import", "from"))]
    assert len(statements) <= 12
    assert max(map(len, lines)) <= 110


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_card_says_what_the_file_takes_and_how_good_it_is(engine, monkeypatch):
    monkeypatch.setattr(deployment, "RUNS", 1)
    card = json.loads(along.card(PLAN, engine, IMAGE, CENTRE, (engine,)))
    made = deployment.outcome(PLAN, deployment.offered(PLAN.network, engine), IMAGE, CENTRE)
    assert card["bytes"] == made.size
    assert card["PSNR against ground truth / dB"] == made.picture.psnr > 20
    assert card["time / ms"] > 0
    assert set(card["layers"].values()) == {"INT8"}
    shape = {ONNX: "lr: (N, 3, H, W)", LITERT: "lr: (1, 64, 48, 3)"}[engine]
    assert card["input"].startswith(shape)
    assert card["conversions between integers and floats"] == {ONNX: None, LITERT: 2}[engine]
    assert len(card["output range"]) == 2
    assert all(card["made with"].values())
