import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from distributed import Client, LocalCluster, default_client
from kills import ROOT, ROWS, prepare, rounds, unchanged, wait_for

from core import (
    EDSR,
    QuantConfig,
    UniversalSet,
    calibrate,
    evaluate,
    make_lr,
    parallel,
    quantize_model,
    sweep_run,
)
from core import cluster as cluster_module
from core import sweep_store as store_module
from core.calibration import calibration_patches
from core.cluster import connected, local_client
from core.images import Pair, demo_image, demo_names
from core.models import load_checkpoint
from core.quantize import observe_part
from core.sweep import load_grid, main, named_images, prepared, sweep
from core.sweep_grid import Choice, Networks, expand
from core.sweep_store import SCHEMA, Store, read_sweep
from core.sweep_tasks import Failure, failure, handing_on, merge, pack

METHODS = ["dfsq", "dfsq+", "minmax", "percentile", "mse", "mse-channel", "2dquant", "log2", "apot", "daq"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The path of a small network's checkpoint."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "tiny.pth"
    torch.save(EDSR(2, n_blocks=2, n_feats=6, rgb_range=1.0).state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def client():
    """Two workers in this process, so that the tests may look over their shoulders."""
    with (
        LocalCluster(2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    return {name: torch.rand(1, 3, 42, 38, generator=generator) for name in ("a", "b")}


# The grid


def test_a_grid_is_a_product():
    found = expand({"network": ["edsr"], "scale": [2, 4], "bits": [2, 8], "method": ["minmax"]}, Networks())
    assert list(found) == [
        Choice("edsr", scale, (), "minmax", bits, bits) for scale in (2, 4) for bits in (2, 8)
    ]


def test_a_network_takes_every_scale_it_has():
    assert {c.scale for c in expand({"network": ["edsr"]}, Networks())} == {2, 4}


def test_what_does_not_matter_is_not_varied():
    grid = {
        "network": ["edsr"],
        "scale": [2],
        "universal_set": [[4, 4], UniversalSet(3, 4)],
        "selector": ["exact", "kmeans"],
    }
    assert len(expand(grid | {"method": ["dfsq"]}, Networks())) == 4
    assert list(expand(grid | {"method": ["minmax"]}, Networks())) == [Choice("edsr", 2, method="minmax")]
    assert len(expand(grid | {"method": ["minmax"], "weights": ["subset"]}, Networks())) == 2


def test_layers_all_together_each_alone_and_by_name():
    networks = Networks()
    layers = networks.layers("edsr", 2)
    grid = {"network": ["edsr"], "scale": [2], "layers": ["all", "each", layers[:2], layers[0]]}
    assert [c.layers for c in expand(grid, networks)] == [(), *((n,) for n in layers), tuple(layers[:2])]


def test_several_grids_share_what_is_the_same():
    one = {"network": ["edsr"], "scale": [2], "method": ["minmax"], "bits": [4]}
    found = expand([one | {"images": ["a"]}, one | {"images": ["b"]}, one | {"bits": [2]}], Networks())
    assert list(found.values()) == [["a", "b"], None]
    assert list(expand([one | {"images": ["a"]}, one], Networks()).values()) == [None]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"network": ["edsr"], "bit": [4]}, "no field bit in a grid; there are network, scale"),
        ({"method": ["dfsq"]}, "the grid needs network"),
        ({"network": ["nothing"]}, "no bundled network 'nothing'; there are edsr"),
        ({"network": ["edsr"], "scale": [3]}, r"edsr is there at scale \[2, 4\], not at \[3\]"),
        ({"network": ["edsr"], "bits": 4}, "bits must be a list of at least one value, got 4"),
        ({"network": ["edsr"], "bits": []}, "bits must be a list"),
        ({"network": ["edsr"], "bits": [2], "weight_bits": [4]}, "not both"),
        ({"network": ["edsr"], "universal_set": [4]}, r"given as \[words, terms\], got 4"),
        ({"network": ["edsr"], "method": [{"a": 1}]}, "a list of plain values"),
        (["network"], "must be a mapping"),
        ([], "the grid is empty"),
    ],
)
def test_grids_that_cannot_be(grid, message):
    with pytest.raises(ValueError, match=message):
        expand(grid, Networks())


def test_a_choice_holds_every_field_of_a_configuration():
    fields = {field.name for field in dataclasses.fields(QuantConfig)}
    assert fields | {"network", "scale", "layers"} == {field.name for field in dataclasses.fields(Choice)}
    made = Choice("edsr", 2, (), "dfsq", 3, 8, (3, 4), "kmeans", 5, "mse", ("bias",), 8).config()
    assert made == QuantConfig("dfsq", 3, 8, UniversalSet(3, 4), "kmeans", 5, "mse", ("bias",), 8)


# Calibration in parts


@pytest.mark.parametrize("method", METHODS)
def test_statistics_merged_from_parts_are_those_of_the_whole(tiny_edsr, method):
    images = torch.rand(6, 3, 20, 18)
    images[4:] *= 5  # another range, late
    config = QuantConfig(method, 3, 3, refine=())
    names = [name for name in tiny_edsr.state_dict() if name.startswith("body") and name.endswith("weight")]
    names = [name.removesuffix(".weight") for name in names][:4]
    whole = calibrate(tiny_edsr, images, config, names).observers
    a, b, c = (observe_part(tiny_edsr, part, config, names) for part in images.split(2))
    merged = merge(merge(a, b), c)
    assert merged.keys() == whole.keys()
    x = torch.randn(2, 6, 9, 9)
    for name, observer in merged.items():
        observer.finish()
        assert observer.post_relu == whole[name].post_relu
        own, expected = (o.quantizer(config)(x) for o in (observer, whole[name]))
        assert torch.allclose(own, expected, atol=1e-6)
    assert all(
        o.post_relu == observe_part(tiny_edsr, images[:2], config, names)[n].post_relu for n, o in a.items()
    )


def test_errors_are_handed_on():
    @handing_on
    def divide(a, b):
        return a / b

    failed = divide(1, 0)
    assert failed == Failure("ZeroDivisionError", "division by zero")
    assert divide(failed, 2) == divide([1, failed], 2) == failed
    assert failure(ValueError()).reason


def test_images_are_packed_without_loss(pictures):
    eight_bit = (pictures["a"] * 255).round() / 255
    assert pack(eight_bit).dtype == np.uint8
    assert pack(pictures["a"]).dtype == np.float32


# The rows


def test_rows_are_what_evaluate_says(tiny, pictures, client):
    grid = {"network": [tiny], "method": METHODS, "bits": [3], "seed": [1]}
    found = sweep(grid, pictures, client)
    assert found["key"].is_unique
    assert list(found.columns) == SCHEMA.names
    assert len(found) == len(METHODS) * 2
    model = load_checkpoint(tiny)
    patches = calibration_patches([make_lr(demo_image(n), 2) for n in demo_names()], 32, 96)
    for method in METHODS:
        quantized = quantize_model(model, patches, QuantConfig(method, 3, 3, seed=1))
        for name, hr in pictures.items():
            row = found[(found["method"] == method) & (found["image"] == name)].iloc[0]
            expected = evaluate(quantized, [Pair(name, make_lr(hr, 2), hr)], 2)
            # Sums in another order; an activation on the edge of a level may fall on the other side.
            assert row["psnr"] == pytest.approx(expected.psnr, abs=1e-3), method
            assert row["drop"] == pytest.approx(row["float_psnr"] - row["psnr"])
    row = found.iloc[0]
    assert row["calibration"] == "32 random LR patches of the packaged photographs, seed 0"
    assert "every residual block" in row["scope"]
    assert f"torch {torch.__version__}" in row["versions"]
    assert found[["psnr", "ssim", "kib", "gbitops"]].notna().all(axis=None)


def test_an_error_is_a_row_with_its_reason(tiny, pictures, client, tmp_path):
    grid = {
        "network": [tiny],
        "method": ["dfsq", "odm", "nonsense"],
        "bits": [2, 3, 17],
        "universal_set": [[1, 3]],
        "layers": ["all", "no.such.layer"],
        "images": ["b"],
    }
    found = sweep(grid, pictures, client, out=tmp_path / "s")
    assert len(found) == 3 * 3 * 2
    fine = found[found["error"] == ""]
    assert (fine["method"] == "dfsq").all()
    assert fine["activation_bits"].tolist() == [2]
    reasons = " | ".join(found["reason"].unique())
    for text in (
        "need 8 points but",
        "must be 2 to 8",
        "use core.odm",
        "no method 'nonsense'",
        "no layer named",
    ):
        assert text in reasons
    assert found.loc[found["error"] != "", "psnr"].isna().all()


def test_float_is_float(tiny, pictures, client):
    found = sweep({"network": [tiny], "method": ["mse"], "bits": [32]}, pictures, client)
    assert found["drop"].abs().max() == 0


def test_named_layers_alone_are_quantized(tiny, pictures, client):
    grid = {"network": [tiny], "method": ["minmax"], "bits": [2], "layers": ["all", "each"]}
    found = sweep(grid, pictures, client)
    alone = found[found["layers"] != "all"]
    assert len(alone) == 4 * 2
    every = found[found["layers"] == "all"].set_index("image")
    assert (alone["gbitops"] > every["gbitops"].iloc[0]).all()
    assert (alone["kib"] > every["kib"].iloc[0]).all()
    assert alone["scope"].unique().tolist() == ["the layers that were asked for"]


def test_the_same_on_any_number_of_workers(tiny, pictures, client):
    grid = {"network": [tiny], "method": ["dfsq", "mse"], "bits": [4]}
    one = sweep(grid, pictures, client).set_index("key")["psnr"].sort_index()
    with (
        LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as alone,
    ):
        other = sweep(grid, pictures, alone).set_index("key")["psnr"].sort_index()
    assert one.equals(other)


def test_the_client_that_is_given_is_the_one_that_waits(tiny, pictures, client, monkeypatch):
    seen, real = [], sweep_run.wait

    def wait(*args, **options):
        seen.append(default_client())
        return real(*args, **options)

    monkeypatch.setattr(sweep_run, "wait", wait)
    with (
        LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),  # newer than the one that is given
    ):
        found = sweep({"network": [tiny], "method": ["mse"], "bits": [4]}, pictures, client)
    assert (found["error"] == "").all()
    assert set(seen) == {client}


# Keeping and going on


class Stopped(Exception):
    pass


def test_a_sweep_goes_on_and_computes_nothing_twice(tiny, pictures, client, tmp_path, monkeypatch):
    monkeypatch.setattr("core.sweep.FLUSH", 0.0)
    grid = {"network": [tiny], "method": ["dfsq", "minmax"], "bits": [2, 4, 8]}

    def stop(done, total):
        if done >= 3:
            raise Stopped

    with pytest.raises(Stopped):
        sweep(grid, pictures, client, out=tmp_path / "s", progress=stop)
    before = read_sweep(tmp_path / "s")
    assert 3 <= len(before) < 12
    told = []
    after = sweep(grid, pictures, client, out=tmp_path / "s", progress=lambda *n: told.append(n))
    assert len(after) == 12
    assert told[0] == (len(before), 12)
    assert told[-1] == (12, 12)
    unchanged(after.set_index("key"), before.set_index("key"))

    @contextlib.contextmanager
    def nothing(*_):
        raise AssertionError("a cluster is started")
        yield

    monkeypatch.setattr("core.sweep.connected", nothing)
    again = sweep(grid, pictures, out=tmp_path / "s")
    assert again.equals(after)
    assert pd.read_parquet(tmp_path / "s").equals(after)


def test_a_larger_grid_adds_what_is_new(tiny, pictures, client, tmp_path):
    grid = {"network": [tiny], "method": ["minmax"], "bits": [4]}
    first = sweep(grid, pictures, client, out=tmp_path / "s")
    both = sweep(grid | {"bits": [4, 8]}, pictures, client, out=tmp_path / "s")
    assert (len(first), len(both)) == (2, 4)
    assert both.head(2).equals(first)
    changed = {name: 1 - image for name, image in pictures.items()}
    assert len(sweep(grid, changed, client, out=tmp_path / "s")) == 2
    assert len(read_sweep(tmp_path / "s")) == 6


def a_row(i: int, error: str = "") -> dict:
    return {"key": f"k{i}", "method": "dfsq", "psnr": float(i), "error": error, "reason": error}


def test_parts_are_filled_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "PART_ROWS", 4)
    with Store(tmp_path) as store:
        for i in range(11):
            store.add([a_row(i)])
            store.flush()
    assert [pq.read_metadata(p).num_rows for p in store_module.parts(tmp_path)] == [4, 4, 3]
    with Store(tmp_path) as store:
        store.add([a_row(11), a_row(12)])
    assert read_sweep(tmp_path)["psnr"].tolist() == list(range(13))
    with Store(tmp_path) as store, pytest.raises(ValueError, match="k3 is there already"):
        store.add([a_row(3)])


def test_what_another_try_may_mend_is_tried_again(tmp_path):
    with Store(tmp_path) as store:
        store.add([a_row(0), a_row(1, "ValueError"), a_row(2, "KilledWorker")])
    with Store(tmp_path) as store:
        assert store.keys == {"k0", "k1"}
        store.add([a_row(2)])
    assert read_sweep(tmp_path)["error"].tolist() == ["", "ValueError", ""]


def test_a_write_that_was_cut_off_leaves_the_rows_as_they_were(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        store.add([a_row(0)])

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", cut)
    with pytest.raises(KeyboardInterrupt), Store(tmp_path) as store:
        store.add([a_row(1)])
    monkeypatch.undo()
    assert len(read_sweep(tmp_path)) == len(pd.read_parquet(tmp_path)) == 1
    with Store(tmp_path) as store:
        store.add([a_row(1)])
    assert len(pd.read_parquet(tmp_path)) == 2


def test_two_sweeps_do_not_write_to_one_folder(tmp_path):
    with Store(tmp_path), pytest.raises(ValueError, match="another sweep is writing"):
        Store(tmp_path)
    Store(tmp_path).__exit__()


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "part-00000.parquet").write_text("no")
    with pytest.raises(ValueError, match="holds no rows of a sweep"):
        Store(tmp_path)
    with pytest.raises(FileNotFoundError, match="no sweep at"):
        read_sweep(tmp_path / "none")


# Images, the command, and the cluster


def test_images_by_name_and_by_folder(tmp_path):
    prepare(tmp_path)
    found = named_images([demo_names()[0], str(tmp_path / "images")])
    assert list(found) == [demo_names()[0], "0", "1", "2", "3"]
    with pytest.raises(ValueError, match="two images are named"):
        named_images([str(tmp_path / "images")] * 2)
    with pytest.raises(ValueError, match="neither a folder nor one of the photographs astronaut"):
        named_images(["nobody"])


def test_the_packaged_photographs_are_the_default(tmp_path, tiny):
    (tmp_path / "g.yaml").write_text(yaml.safe_dump({"network": [tiny]}))
    grid, images = load_grid(tmp_path / "g.yaml")
    assert list(images) == grid[0]["images"] == demo_names()
    with pytest.raises(ValueError, match="no image nobody; there are astronaut"):
        prepared({"network": [tiny], "images": ["nobody"]}, images)
    with pytest.raises(ValueError, match="at least one image"):
        prepared({"network": [tiny]}, {})


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


def test_workers_do_not_fight_for_the_cores_and_leave_nothing_behind():
    with local_client(2) as client:
        assert set(client.run(threads).values()) == {(1, 1)}
        pids = list(client.run(os.getpid).values())
        assert len(set(pids)) == 2
    wait_for(lambda: not any(map(psutil.pid_exists, pids)), "the end of the workers")


def test_workers_that_die_as_they_start_are_started_again(monkeypatch):
    made = []

    def dying(**options):
        made.append(options)
        if len(made) < 3:
            raise RuntimeError("Nanny failed to start.")
        return "a cluster"

    monkeypatch.setattr(cluster_module, "LocalCluster", dying)
    assert cluster_module._local_cluster(2) == "a cluster"
    made[:] = []
    monkeypatch.setattr(cluster_module, "STARTS", 2)
    with pytest.raises(ValueError, match="2 worker processes end as they start"):
        cluster_module._local_cluster(2)


def test_a_killed_sweep_loses_and_doubles_no_row(tmp_path):
    found = rounds(tmp_path, 3, seed=1)
    single = sweep_of(tmp_path, found)
    assert (found["psnr"] - single["psnr"]).abs().max() < 1e-9


def sweep_of(folder, found):
    """One row in twenty again, in this process."""
    grid, images = load_grid(folder / "grid.yaml")
    with (
        LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        part = [part | {"bits": [3], "method": ["dfsq", "mse"], "seed": [1]} for part in grid]
        again = sweep(part, images, client).set_index("key")
    assert set(again.index) <= set(found.index)
    return again


def test_ctrl_c_keeps_what_is_done_and_ends_the_workers(tmp_path):
    grid, out = prepare(tmp_path), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "core.sweep", str(grid), "--out", str(out), "--workers", "2"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: out.exists() and len(read_sweep(out)) >= 5, "rows")
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process gets it
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip().endswith(f"What is done is in {out}; the same command goes on from there.")
    assert "Traceback" not in told
    assert not psutil.wait_procs(children, timeout=30)[1]
    assert pd.read_parquet(out)["key"].is_unique
    assert json.loads((out / "_sweep.json").read_text())["rows"] == ROWS
