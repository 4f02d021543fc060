"""Trainings and sweeps of a visitor's own files."""

import io
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import core
from core import EDSR
from core.qat.config import OdmConfig
from explorer.choices.own_runs import start_sweep, training_run, write_image, write_network
from explorer.choices.sweep_grid import SweepChoices
from explorer.choices.visitor_files import VisitorFiles
from explorer.jobs import sweep_runs
from explorer.jobs.token import Token
from explorer.pipeline import pictures, sweep_rows


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def photo(name: str, files: VisitorFiles, seed: int, side: int = 240) -> None:
    small = np.random.default_rng(seed).integers(0, 256, (side // 6, side // 6, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(data, "PNG")
    files.add(name, data.getvalue())


@pytest.fixture
def mine():
    """An EDSR whose file does not say its res_scale, and two images of nearly one name."""
    files, weights = VisitorFiles(), io.BytesIO()
    torch.manual_seed(3)
    model = EDSR(2, n_blocks=2, n_feats=8, res_scale=0.3, rgb_range=255.0)
    state = {name: value for name, value in model.state_dict().items() if "extra_state" not in name}
    torch.save(state, weights)
    files.add("mein Netz (1).pth", weights.getvalue())
    files.rescale("mein Netz (1).pth", 0.3)
    photo("it's a: photo.png", files, 0)
    photo("it's a, photo.png", files, 1)
    yield files
    files.close()


@pytest.fixture
def network(mine) -> str:
    return next(iter(mine.labels("network").values()))


def test_a_network_is_handed_on_with_what_its_file_does_not_say(network, tmp_path):
    path = write_network(network, tmp_path / "a")
    lr = torch.rand(1, 3, 20, 20)
    model = pictures.network(network)
    assert torch.equal(core.load_checkpoint(path)(lr), model(lr))
    assert core.load_checkpoint(path).res_scale == 0.3


def test_what_only_this_page_knows_is_refused(mine, network, monkeypatch, tmp_path):
    monkeypatch.setattr(core, "load_checkpoint", lambda path: (_ for _ in ()).throw(ValueError("unknown")))
    with pytest.raises(ValueError, match=r"mein Netz \(1\)\.pth cannot be handed to a process of its own"):
        write_network(network, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="is an LR without ground truth; a sweep scores HR images"):
        write_image(next(iter(mine.labels("lr").values())), tmp_path / "b")


def test_a_grid_with_own_files(mine, network):
    choices = SweepChoices()
    assert choices.own_files() == []
    choices.offer_uploads(mine.labels("network"), mine.labels("hr"))
    images = list(mine.labels("hr").values())
    choices.param.update(networks=["edsr_x2", network], images=[choices.images[0], *images])
    assert choices.own_files() == [network, *images]
    bundled, own = choices.grids()
    assert (own["network"], own["scale"]) == ([network], [2])
    assert (bundled["network"], own["images"]) == (["edsr"], choices.images)
    choices.offer_uploads({}, {})
    assert (choices.networks, len(choices.images)) == (["edsr_x2"], 1)


@pytest.mark.slow
def test_a_sweep_of_own_files_is_the_visitors_alone(mine, network, monkeypatch, tmp_path):
    monkeypatch.setattr(sweep_runs, "FOLDER", tmp_path / "sweeps")
    images = list(mine.labels("hr").values())
    choices = SweepChoices(title="mine", methods=["minmax"], bits=[4])
    choices.offer_uploads(mine.labels("network"), mine.labels("hr"))
    choices.param.update(networks=[network], images=images)
    run = start_sweep(choices)
    folder = sweep_runs.place(run.name)
    try:
        assert run.name not in sweep_runs.names()
        assert sweep_runs.title(run.name) == "mine (yours alone)"
        with pytest.raises(ValueError, match=r"^A sweep of somebody's own files is running on this server"):
            sweep_runs.start("other", choices.grids())
        with pytest.raises(ValueError, match=r"mine \(yours alone\) is running; cancel it"):
            sweep_runs.delete(run.name)
        wait_for(lambda: not run.alive)
        assert run.problem() == ""
        shown = sweep_rows.shown(run.name, network, images[0], token=Token())
        assert (shown.networks, set(shown.images)) == ([network], {"mean", *images})
        assert shown.reasons == {}
        picture = pictures.picture(network, images[0], "whole", core.QuantConfig("minmax", 4, 4))
        assert shown.dots["psnr"] == pytest.approx([picture.psnr], abs=1e-3)
        rows = pd.read_csv(io.BytesIO(sweep_rows.file_of_rows(run.name, "csv")))
        assert set(rows["network"]) == {"mein Netz (1).pth"}
        assert set(rows["image"]) == {"it's a: photo.png", "it's a, photo.png"}
    finally:
        sweep_runs.end_private(run.name)
    assert not folder.exists()
    with pytest.raises(ValueError, match="There is no sweep named private-"):
        sweep_rows.shown(run.name, network, images[0], token=Token())


@pytest.mark.slow
def test_a_training_of_an_own_network(network):
    run = training_run(network, OdmConfig(steps=4, batch=1, patch=8))
    try:
        run.start()
        wait_for(lambda: not run.alive)
        assert run.status_text() == "Done, step 4 of 4"
        where = (network, core.demo_names()[0], "centre")
        before, after = (
            pictures.training_picture(*where, what, str(run.out)) for what in ("before", "after")
        )
        float_sr = pictures.picture(*where, "float")
        assert all(picture.rgb.shape == float_sr.rgb.shape for picture in (before, after))
        assert not np.array_equal(before.rgb, after.rgb)
        assert abs(before.psnr - float_sr.psnr) < 10  # the same network, quantized
    finally:
        folder = run.out.parent
        run.cancel()
    assert not folder.exists()


def test_deleting_a_sweep(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep_runs, "FOLDER", tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "part-00000.parquet").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    sweep_runs.delete("old")
    assert sweep_runs.names() == ["other", "bundled"]
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    for name, said in (
        ("old", "There is no sweep named old"),
        ("bundled", "cannot be deleted"),
        ("../x", "name"),
    ):
        with pytest.raises(ValueError, match=said):
            sweep_runs.delete(name)
