"""What the first page computes before it is complete, beside the time that the imports take."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

# Processor time, so that other programs do not count.
RUN = """
import json, time
from explorer.pipeline.warm_up import first_page
from explorer.pipeline import activations, pictures
from explorer.jobs.token import Token
import core, explorer.page, panel
imports = time.process_time()
first_page(Token())
page = time.process_time()
print(json.dumps([imports, page - imports]))
"""
STATISTICS = """
import json, time
import core
from explorer.pipeline import activations
seen = activations.seen_by(core.QuantConfig())
activations.calibration_patches(2)
activations.calibration("edsr_x2", seen, 0)  # compiled, and everything read
activations.calibration.cache.clear()
start = time.process_time()
activations.calibration("edsr_x2", seen, 0)
middle = time.process_time()
activations.mismatch("edsr_x2")
along = time.process_time()
core.mismatch(activations.network("edsr_x2"), activations.calibration_patches(2),
              list(activations.layer_channels("edsr_x2")))
print(json.dumps([middle - start, along - middle, time.process_time() - along]))
"""


def measured(code: str, place) -> list[float]:
    environment = os.environ | {"EXPLORER_CACHE": str(place), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_first_page(tmp_path, capsys):
    measured(RUN, tmp_path / "compiled")  # Numba's functions are compiled once an installation
    first = [measured(RUN, tmp_path / f"first {i}") for i in range(2)]
    again = [measured(RUN, tmp_path / "first 0") for _ in range(3)]
    with capsys.disabled():
        print(f"\n{'the default page, in processor time':42}{'imports':>9}{'page':>9}{'ratio':>9}")
        for name, runs in (("the very first", first), ("after a restart", again)):
            imports, page = min(runs, key=lambda run: run[1] / run[0])
            print(f"{name:42}{imports:8.2f}s{page:8.2f}s{page / imports:9.2f}")
    # On an idle machine of two cores imports take 2 s: so 10 s and 3 s.
    assert min(page / imports for imports, page in first) < 5
    assert min(page / imports for imports, page in again) < 1.5


def test_mismatch_comes_along(capsys):
    calibration, along, alone = measured(STATISTICS, "")
    with capsys.disabled():
        print(f"\ncalibration {calibration:.2f} s, mismatch along {along:.3f} s, alone {alone:.2f} s")
    assert along < 0.1 * calibration
    assert alone < calibration
