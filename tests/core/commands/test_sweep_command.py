import json
import os
import signal
import subprocess
import sys

import pandas as pd
import psutil
import pytest
import torch
import yaml
from distributed import LocalCluster
from kills import LONGEST, ROOT, ROWS, prepare, rounds, wait_for

from core.commands.sweep import main
from core.sweep import cluster as cluster_module
from core.sweep.cluster import connected, local_client
from core.sweep.grid_file import load_grid
from core.sweep.run import sweep
from core.sweep.store import read_sweep
from core.utils import parallel

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network: [nothing]", "no bundled network 'nothing'"),
        ("network: [edsr", "not readable as YAML"),
        ("network: [edsr]\nmethods: [dfsq]", "no field methods"),
        ("just words", "must be a mapping"),
    ],
)
def test_bad_grids_end_in_a_sentence(tmp_path, text, message, monkeypatch, capsys):
    (tmp_path / "g.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["sweep", str(tmp_path / "g.yaml"), "--out", str(tmp_path / "o")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1]


def test_nobody_answers():
    with pytest.raises(ValueError, match="no Dask scheduler answers at"), connected("nonsense://x"):
        pass


def threads() -> tuple[int, int]:
    return torch.get_num_threads(), parallel.WORKERS


def test_workers_are_started_again_do_not_fight_for_the_cores_and_leave_nothing_behind(monkeypatch):
    starts = []

    def dying_twice(**options):
        starts.append(options)
        if len(starts) < 3:
            raise RuntimeError("Nanny failed to start.")  # as when memory is short
        return LocalCluster(**options)

    monkeypatch.setattr(cluster_module, "LocalCluster", dying_twice)
    with local_client(2) as client:
        assert set(client.run(threads).values()) == {(1, 1)}
        pids = list(client.run(os.getpid).values())
        assert len(set(pids)) == 2
    wait_for(lambda: not any(map(psutil.pid_exists, pids)), "the end of the workers")


def test_workers_that_never_start(monkeypatch):
    def dying(**options):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(cluster_module, "LocalCluster", dying)
    with pytest.raises(ValueError, match="2 worker processes end as they start"), local_client(2):
        pass


def test_a_killed_sweep_loses_and_doubles_no_row(tmp_path):
    found = rounds(tmp_path, 2, seed=1)
    single = sweep_of(tmp_path, found)
    assert (found["psnr"] - single["psnr"]).abs().max() < 1e-9


def sweep_of(folder, found):
    """One row in twenty again, on a cluster that is known by its address alone."""
    grid, images = load_grid(folder / "grid.yaml")
    here = dict(processes=False, protocol="tcp", host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with (
        LocalCluster(1, threads_per_worker=1, **here) as cluster,
        connected(cluster.scheduler_address) as client,
    ):
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        part = [part | {"bits": [3], "method": ["dfsq-exact", "mse"], "seed": [1]} for part in grid]
        again = sweep(part, images, client).set_index("key")
    assert set(again.index) <= set(found.index)
    return again


def test_ctrl_c_keeps_what_is_done_and_ends_the_workers(tmp_path):
    grid, out, seeds = prepare(tmp_path), tmp_path / "out", list(range(20))  # more than it can do
    grid.write_text(yaml.safe_dump(yaml.safe_load(grid.read_text()) | {"seed": seeds}))
    process = subprocess.Popen(
        [sys.executable, "-m", "core", "sweep", str(grid), "--out", str(out), "--workers", "2"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What is started in the background by a shell ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: out.exists() and len(read_sweep(out)) >= 5, "rows")
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process gets it
    _, told = process.communicate(timeout=LONGEST)
    assert process.returncode == 130
    assert told.strip().endswith(f"What is done is in {out}; the same command goes on from there.")
    assert "Traceback" not in told
    assert "distributed" not in told, "Dask's own log is no news to a person who stopped it"
    assert not psutil.wait_procs(children, timeout=LONGEST)[1]
    assert pd.read_parquet(out)["key"].is_unique
    assert json.loads((out / "_sweep.json").read_text())["rows"] == ROWS // 2 * len(seeds)
