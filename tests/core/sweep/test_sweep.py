import contextlib

import numpy as np
import pandas as pd
import pytest
import torch
from distributed import Client, LocalCluster, default_client
from kills import unchanged

import core
from core import QuantConfig, calibrate, evaluate, make_lr, quantize_model, tune_ranges
from core.checkpoints.loading import load_checkpoint
from core.images import Pair, demo_image, demo_names
from core.ptq.calibration import calibration_patches
from core.ptq.quantize import observe_part
from core.quantizers.microscaling import FORMATS
from core.sweep import schedule as sweep_run
from core.sweep.run import sweep
from core.sweep.store import SCHEMA, read_sweep
from core.sweep.tasks import Failure, failure, handing_on, merge, pack

PATCHES = 12
METHODS = [name for name in core.METHODS if name not in FORMATS]


@pytest.fixture(scope="module")
def client():
    """Two workers in this process, so that the tests may look over their shoulders."""
    with (
        LocalCluster(2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def _fewer_patches(monkeypatch):
    """So many that there are two chunks of them, whose statistics are merged."""
    monkeypatch.setattr("core.sweep.run.PATCHES", PATCHES)


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    return {name: torch.rand(1, 3, 42, 38, generator=generator) for name in ("a", "b")}


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


def test_rows_are_what_evaluate_says(tiny, pictures, client):
    grid = {"network": [tiny], "method": METHODS, "bits": [3], "seed": [1]}
    found = sweep(grid, pictures, client)
    assert found["key"].is_unique
    assert list(found.columns) == SCHEMA.names
    assert len(found) == len(METHODS) * 2
    model = load_checkpoint(tiny)
    patches = calibration_patches([make_lr(demo_image(n), 2) for n in demo_names()], PATCHES, 96)
    for method in METHODS:
        quantized = quantize_model(model, patches, QuantConfig(method, 3, 3, seed=1))
        for name, hr in pictures.items():
            row = found[(found["method"] == method) & (found["image"] == name)].iloc[0]
            expected = evaluate(quantized, [Pair(name, make_lr(hr, 2), hr)], 2)
            # Sums in another order; an activation on the edge of a level may fall on the other side.
            assert row["psnr"] == pytest.approx(expected.psnr, abs=1e-3), method
            assert row["drop"] == pytest.approx(row["float_psnr"] - row["psnr"])
    row = found.iloc[0]
    assert row["calibration"] == f"{PATCHES} random LR patches of the packaged photographs, seed 0"
    assert "every residual block" in row["scope"]
    assert f"torch {torch.__version__}" in row["versions"]
    assert found[["psnr", "ssim", "kib", "gbitops"]].notna().all(axis=None)


def test_tuned_ranges_are_rows_of_their_own(tiny, pictures, client):
    grid = {"network": [tiny], "method": ["mse", "dfsq"], "bits": [2], "tune": [0, 3]}
    found = sweep(grid, pictures, client)
    numbers = found.groupby(["method", "tune"])["image"].nunique().to_dict()
    assert numbers == {("dfsq", 0): 2, ("mse", 0): 2, ("mse", 3): 2}
    model = load_checkpoint(tiny)
    patches = calibration_patches([make_lr(demo_image(n), 2) for n in demo_names()], PATCHES, 96)
    tuned = tune_ranges(model, quantize_model(model, patches, QuantConfig("mse", 2, 2)), patches, steps=3)
    for name, hr in pictures.items():
        row = found[(found["tune"] == 3) & (found["image"] == name)].iloc[0]
        assert row["psnr"] == pytest.approx(
            evaluate(tuned, [Pair(name, make_lr(hr, 2), hr)], 2).psnr, abs=5e-3
        )


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
        "use python -m core odm",
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


class Stopped(Exception):
    pass


def test_a_sweep_goes_on_and_computes_nothing_twice(tiny, pictures, client, tmp_path, monkeypatch):
    monkeypatch.setattr("core.sweep.run.FLUSH", 0.0)
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

    monkeypatch.setattr("core.sweep.run.connected", nothing)
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


def test_the_same_image_twice_is_said(pictures, tiny):
    twice = pictures | {"c": pictures["a"]}
    with pytest.raises(ValueError, match=r"^a and c are the same image; leave one of them out"):
        sweep({"network": [tiny], "method": ["minmax"]}, twice)
