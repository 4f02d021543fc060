import dataclasses
import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from core import EDSR, load_checkpoint, make_lr
from core.commands.train import main
from core.images.folders import load_folder, reduced_pairs
from core.models import SRResNet
from core.training.bundle import save_bundle, transfer
from core.training.loop import TrainConfig, learning_rate, train
from core.training.patches import PatchSampler

CONFIG = TrainConfig(steps=7, batch=2, patch=6, seed=3)


def sampler():
    generator = torch.Generator().manual_seed(5)
    return PatchSampler([torch.rand(1, 3, 20, 24, generator=generator) for _ in range(2)], 2, CONFIG.patch)


def network():
    torch.manual_seed(7)
    return EDSR(2, n_blocks=1, n_feats=4, rgb_range=1.0)


def test_the_result_is_the_mean_of_the_weights(tmp_path):
    """By hand: the first weights, then 2/11 and 3/12 of the mean so far."""
    model, seen = network(), []
    config = dataclasses.replace(CONFIG, steps=3)
    train(model, sampler(), config, tmp_path / "a.ckpt", lambda *_: seen.append(model.head[0].weight.clone()))
    mean = seen[0] * 2 / 11 + seen[1] * 9 / 11
    assert torch.allclose(model.head[0].weight, mean * 3 / 12 + seen[2] * 9 / 12, atol=1e-6)


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, stop):
    losses = {}
    whole = train(network(), sampler(), CONFIG, tmp_path / "whole.ckpt", losses.__setitem__, save_every=2)

    def die(step, loss):
        assert loss == losses[step]
        if step == stop:
            raise Killed

    resumed = {}
    with pytest.raises(Killed):
        train(network(), sampler(), CONFIG, tmp_path / "cut.ckpt", die, save_every=2)
    other = EDSR(2, n_blocks=1, n_feats=4, rgb_range=1.0)  # its own start is replaced by the checkpoint's
    if stop == 1:
        other = network()  # killed before the first checkpoint, so it starts anew
    again = train(other, sampler(), CONFIG, tmp_path / "cut.ckpt", resumed.__setitem__, save_every=2)
    assert list(resumed) == list(range(4 if stop == 4 else 0, 7))
    assert resumed == {step: losses[step] for step in resumed}
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert not list(tmp_path.glob("*.partial"))


def test_a_finished_run_is_not_repeated(tmp_path):
    first = train(network(), sampler(), CONFIG, tmp_path / "a.ckpt")
    steps = []
    second = train(network(), sampler(), CONFIG, tmp_path / "a.ckpt", lambda step, loss: steps.append(step))
    assert steps == []
    assert torch.equal(first.head[0].weight, second.head[0].weight)
    assert not second.training


def test_a_checkpoint_of_another_configuration(tmp_path):
    train(network(), sampler(), CONFIG, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"was made with .*'seed': 3.*choose another --out"):
        train(network(), sampler(), dataclasses.replace(CONFIG, seed=4), tmp_path / "a.ckpt")


def test_a_checkpoint_of_other_images(tmp_path):
    train(network(), sampler(), CONFIG, tmp_path / "a.ckpt")
    others = PatchSampler([torch.rand(1, 3, 24, 24)], 2, 6)
    with pytest.raises(ValueError, match="was made with other images; choose another --out"):
        train(network(), others, CONFIG, tmp_path / "a.ckpt")


def test_a_checkpoint_of_another_network(tmp_path):
    train(network(), sampler(), CONFIG, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="was made with another network; choose another --out"):
        train(EDSR(2, 2, 6), sampler(), CONFIG, tmp_path / "a.ckpt")


def test_a_loss_that_is_not_finite(tmp_path):
    model = network()
    model.head[0].bias.data[0] = torch.nan
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0; lower lr_peak"):
        train(model, sampler(), CONFIG, tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


def test_training_lowers_the_loss(tmp_path):
    smooth = torch.linspace(0, 1, 24).expand(1, 3, 24, 24)
    config = TrainConfig(steps=60, batch=4, patch=6, lr_peak=5e-3)
    losses = []
    train(network(), PatchSampler([smooth], 2, 6), config, tmp_path / "a.ckpt", lambda s, x: losses.append(x))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_fixed_layers_stay(tmp_path):
    model = train(network(), sampler(), CONFIG, tmp_path / "a.ckpt")
    assert torch.equal(model.sub_mean.weight, network().sub_mean.weight)
    assert not torch.equal(model.head[0].weight, network().head[0].weight)


def test_learning_rate_by_hand():
    config = TrainConfig(steps=100, warmup=0.1, lr_peak=1.0)
    assert learning_rate(0, config) == pytest.approx(0.1)
    assert learning_rate(9, config) == learning_rate(10, config) == 1
    assert learning_rate(55, config) == pytest.approx(0.001 + 0.999 / 2)
    assert learning_rate(99, config) == pytest.approx(0.001 + 0.999 * (1 + math.cos(math.pi * 89 / 90)) / 2)
    assert learning_rate(0, TrainConfig(steps=1, lr_peak=1.0)) == 1


def test_patches_of_lr_and_hr_show_the_same_place():
    # Colours that are smooth: reducing an HR patch gives its LR patch, whatever the turn.
    y, x = torch.meshgrid(torch.linspace(0, 1, 60), torch.linspace(0, 1, 80), indexing="ij")
    image = torch.stack([x, y, (x + y) / 2])[None]
    lr, hr = PatchSampler([image], 2, 8).batch(64, seed=0, step=0)
    assert (lr.shape, hr.shape) == ((64, 3, 8, 8), (64, 3, 16, 16))
    inside = (..., slice(2, -2), slice(2, -2))
    assert (make_lr(hr, 2)[inside] - lr[inside]).abs().max() < 3 / 255
    # All 8 symmetries appear: the sign of both gradients, and which colour changes along which side.
    along = [
        (int((p[0, 0, -1] - p[0, 0, 0]).sign()), int((p[0, -1, 0] - p[0, 0, 0]).sign()),
         int((p[1, 0, -1] - p[1, 0, 0]).sign()), int((p[1, -1, 0] - p[1, 0, 0]).sign()))
        for p in lr
    ]  # fmt: skip
    assert len(set(along)) == 8


def test_patches_depend_on_seed_and_step_alone():
    first, again = sampler().batch(4, 1, 9), sampler().batch(4, 1, 9)
    assert torch.equal(first[0], again[0])
    for seed, step in ((2, 9), (1, 10)):
        assert not torch.equal(first[0], sampler().batch(4, seed, step)[0])


def test_small_images_are_passed_over():
    small, large = torch.rand(1, 3, 15, 40), torch.rand(1, 3, 17, 16)
    assert len(PatchSampler([small, large], 2, 8).pairs) == 1
    with pytest.raises(ValueError, match="no training image is at least 16 pixels on both sides"):
        PatchSampler([small], 2, 8)


def test_transfer_copies_what_fits():
    source, target = EDSR(2, 1, 4), EDSR(4, 1, 4)
    before = target.tail[0][2].weight.clone()
    same = set(source.state_dict()) & set(target.state_dict())
    assert transfer(target, source) == len(same)
    assert torch.equal(target.body[0].body[0].weight, source.body[0].body[0].weight)
    assert torch.equal(target.tail[0][2].weight, before)
    assert transfer(EDSR(2, 1, 6), source) == 4 + 1 + 1  # mean shifts, their range, the bias of 3 colours


def photos(path, n=2):
    path.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (34, 37, 3), dtype=np.uint8)).save(path / f"{i}.png")
    return path


def test_folders(tmp_path):
    path = photos(tmp_path / "photos")
    assert [image.shape for image in load_folder(path)] == [(1, 3, 34, 37)] * 2
    pairs = reduced_pairs(path, 2)
    assert [(p.lr.shape, p.hr.shape) for p in pairs] == [((1, 3, 17, 18), (1, 3, 34, 36))] * 2
    assert torch.equal(pairs[0].lr, make_lr(pairs[0].hr, 2))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no image"):
        load_folder(tmp_path / "empty")


def test_bundle_is_float16_and_loads(tmp_path):
    model = network().eval()
    save_bundle(model, tmp_path / "new" / "edsr_x2", {"steps": 7})
    loaded = load_checkpoint(tmp_path / "new" / "edsr_x2.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())
    assert json.loads((tmp_path / "new" / "edsr_x2.json").read_text()) == {"steps": 7}


def test_command(tmp_path, monkeypatch, capsys):
    path, out = photos(tmp_path / "photos"), tmp_path / "runs" / "edsr_x2"
    arguments = ["--data", path, "--validation", path, "--out", out, "--steps", 1, "--batch", 1, "--patch", 8]
    monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
    main()
    card = json.loads(out.with_suffix(".json").read_text())
    assert json.loads(capsys.readouterr().out) == card
    assert card["data"] == "2 images of photos"
    assert card["steps"] == 1
    assert set(card["scores"]) == {"photos"}
    assert load_checkpoint(out.with_suffix(".safetensors")).scale == 2


def test_names_with_dots_and_sets_of_one_name(tmp_path, monkeypatch, capsys):
    path = photos(tmp_path / "Set5")
    for name, lr in (("Set5", (17, 18)), ("Set14", (17, 18))):
        for kind, size in (("HR", (34, 36)), ("LR_bicubic/X2", lr)):
            (tmp_path / "benchmark" / name / kind).mkdir(parents=True)
            pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "benchmark" / name / kind / "a.png")
    (path / "._0.png").write_bytes(b"\0\5\x16\7")
    monkeypatch.chdir(path)
    common = ["--data", ".", "--validation", ".", "--benchmark", tmp_path / "benchmark", "--steps", 1]
    common += ["--batch", 1, "--patch", 8]
    for out in ("lr0.001", "lr0.002"):
        asked = [*common, "--out", tmp_path / "runs" / out, "--lr-peak", out.removeprefix("lr")]
        monkeypatch.setattr(sys, "argv", ["training", *map(str, asked)])
        main()
        card = json.loads((tmp_path / "runs" / f"{out}.json").read_text())
        assert card["lr_peak"] == float(out.removeprefix("lr"))
        assert card["data"] == "2 images of Set5"
        assert list(card["scores"]) == [f"{tmp_path.name}/Set5", "benchmark/Set5", "Set14"]
    assert len(list((tmp_path / "runs").iterdir())) == 6
    capsys.readouterr()


def test_frozen_batchnorm_keeps_its_statistics_and_learns_its_weights(tmp_path):
    torch.manual_seed(1)
    model = SRResNet(2, n_blocks=1, n_feats=4, rgb_range=1.0)
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_mean.fill_(0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = dataclasses.replace(CONFIG, frozen_batchnorm=True)
    after = train(model, sampler(), config, tmp_path / "a.ckpt").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any("running" in name or "num_batches" in name for name in moved)
    assert any(name.endswith("weight") for name in moved)
