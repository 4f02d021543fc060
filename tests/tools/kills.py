"""Kill a sweep, or one of its workers, at random moments: no row may be lost or doubled.

python tests/tools/kills.py 20
"""

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import torch
import yaml
from PIL import Image

from core import EDSR
from core.images import to_uint8
from core.sweep.store import SCHEMA, read_sweep

ROOT = Path(__file__).resolve().parents[2]
GRID = {"method": ["dfsq-exact", "minmax", "mse", "daq"], "bits": [2, 3, 4, 6, 8], "seed": [0, 1]}
IMAGES, SIDE = 4, 144
ROWS = IMAGES * 4 * 5 * 2
LONGEST = 600.0  # seconds that anything may take


def prepare(folder: Path) -> Path:
    """A small network, images and the grid of a sweep in `folder`; the grid's file."""
    torch.manual_seed(0)
    torch.save(EDSR(2, n_blocks=2, n_feats=6, rgb_range=1.0).state_dict(), folder / "tiny.pth")
    (folder / "images").mkdir()
    for i in range(IMAGES):
        Image.fromarray(to_uint8(torch.rand(1, 3, SIDE, SIDE))[0]).save(folder / "images" / f"{i}.png")
    grid = folder / "grid.yaml"
    named = {"network": [str(folder / "tiny.pth")], "images": [str(folder / "images")]}
    grid.write_text(yaml.safe_dump(GRID | named))
    return grid


def start(grid: Path, out: Path, *options: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "core",
        "sweep",
        str(grid),
        "--out",
        str(out),
        "--workers",
        "2",
        *options,
    ]
    with (out.parent / "log").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def rows(out: Path) -> pd.DataFrame:
    """What is kept now, however far it is, by key."""
    found = read_sweep(out) if out.exists() else SCHEMA.empty_table().to_pandas()
    assert found["key"].is_unique, "a row is there twice"
    return found.set_index("key")


def unchanged(now: pd.DataFrame, before: pd.DataFrame) -> None:
    """No row was lost, nor computed again: also the time it was finished is the same."""
    # A column of whole numbers becomes one of floats with the first row that has none.
    pd.testing.assert_frame_equal(now.loc[before.index], before, check_dtype=False)


def wait_for(condition, what: str) -> None:
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.02)


def kill_parent(process: subprocess.Popen) -> None:
    """And see that its workers end by themselves."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=LONGEST)
    assert not alive, f"workers outlived the sweep: {alive}"


def kill_worker(process: subprocess.Popen, rng: random.Random) -> None:
    """One of the processes that compute; the rest of the sweep must go on and end well."""
    found = []

    def workers() -> bool:
        with contextlib.suppress(psutil.Error):
            found[:] = [
                child
                for child in psutil.Process(process.pid).children(recursive=True)
                if child.cpu_times().user > 1 and "resource_tracker" not in " ".join(child.cmdline())
            ]
        return bool(found) or process.poll() is not None

    wait_for(workers, "a worker")
    with contextlib.suppress(psutil.NoSuchProcess):
        rng.choice(found).kill()


def rounds(folder: Path, number: int, seed: int, tell=lambda text: None) -> pd.DataFrame:
    """Kill `number` times, parent and worker in turn, then finish; the rows, each there exactly once.

    A sweep that ends before it is killed starts anew in another folder.
    """
    rng, grid = random.Random(seed), prepare(folder)
    out, before = folder / "out-0", rows(folder / "out-0")
    for done in range(number):
        if len(before) == ROWS:
            out = folder / f"out-{done}"
            before = rows(out)
        process = start(grid, out)
        try:
            # A moment of the start-up, or one between two rows.
            if rng.random() < 0.25:
                time.sleep(rng.uniform(0, 6))
            else:
                more = len(before) + rng.randint(1, 40)
                come = lambda p=process, m=more, o=out: p.poll() is not None or len(rows(o)) >= min(m, ROWS)  # noqa: E731
                wait_for(come, "more rows")
            if done % 2:
                kill_worker(process, rng)
                assert process.wait(LONGEST) == 0, (folder / "log").read_text()
                assert len(rows(out)) == ROWS
            elif process.poll() is None:
                kill_parent(process)
        finally:
            process.kill()
        now = rows(out)
        unchanged(now, before)
        tell(
            f"{done + 1} of {number}: killed a {'worker' if done % 2 else 'sweep'}, {len(now)} of {ROWS} rows"
        )
        before = now
    assert start(grid, out).wait(LONGEST) == 0, (folder / "log").read_text()
    found = rows(out)
    assert len(found) == ROWS
    unchanged(found, before)
    assert (found["error"] == "").all(), found["reason"].unique()
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own:
        seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
        rounds(Path(own), int(sys.argv[1]), seed, print)
    print("no row lost, none doubled, none computed twice")
