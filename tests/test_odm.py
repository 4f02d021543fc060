import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core import (
    EDSR,
    QuantConfig,
    audit,
    calibration_patches,
    demo_image,
    demo_names,
    evaluate,
    load_quantized,
    make_lr,
    quantize_model,
)
from core.checkpoint import load_quantized as load
from core.cooperation import COOPERATION, PENALTIES, conflict, cosine
from core.cost import cost
from core.fake_quantization import ClippedWeight, FakeQuantize, LearnedRange
from core.images import Pair
from core.odm import main, middles, run, train
from core.odm_config import VERSIONS, OdmConfig
from core.odm_table import main as table_main
from core.odm_training import QuantizedTraining, quantized_before
from core.quantizers import OffsetQuantizer, uniform
from core.training import PatchSampler

CONFIG = OdmConfig(bits=3, steps=6, batch=2, patch=8, seed=3)
LAYERS = ["body.0.body.0", "body.0.body.2"]


def photographs(n=2, side=40):
    return [demo_image(name)[..., :side, :side] for name in demo_names()[:n]]


def network():
    torch.manual_seed(7)
    model = EDSR(2, n_blocks=1, n_feats=4, rgb_range=1.0)
    for p in model.body.parameters():
        p.data.mul_(3)
    return model


def new_training(config=CONFIG, model=None, layers=None):
    return QuantizedTraining(model or network(), PatchSampler(photographs(), 2, config.patch), config, layers)


# The quantizers


def test_the_gradients_of_a_hand_computed_case():
    x = torch.tensor([-1.0, 0.2, 0.9, 3.0], requires_grad=True)
    low, high = torch.zeros((), requires_grad=True), torch.tensor(1.5, requires_grad=True)
    quantized = FakeQuantize.apply(x, low, high, 2)
    assert quantized.tolist() == [0, 0, 1, 1.5]
    quantized.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [0, 2, 3, 0]
    within = (2 * 0.2 + 3 * (0.9 - 1.0)) / 1.5
    assert low.grad.item() == pytest.approx(1 + within)
    assert high.grad.item() == pytest.approx(4 - within)


@given(st.integers(2, 8), st.floats(-2, 0), st.floats(0.1, 3), st.integers(0, 10**6))
def test_the_gradients_are_those_of_the_formula(bits, low, width, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(5, 3, 4, 4, generator=generator, dtype=torch.float64)
    weights = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    found = []
    for function in (FakeQuantize.apply, uniform):
        leaves = [values.clone(), torch.tensor(low).double(), torch.tensor(low + width).double()]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        quantized = function(*leaves, bits)
        quantized.backward(weights)
        found.append([quantized.detach(), *(leaf.grad for leaf in leaves)])
    for own, formula in zip(*found, strict=True):
        torch.testing.assert_close(own, formula)


def test_a_range_that_closes_stays_finite():
    low, high = torch.tensor(0.5, requires_grad=True), torch.tensor(0.4, requires_grad=True)
    x = torch.linspace(0, 1, 5, requires_grad=True)
    FakeQuantize.apply(x, low, high, 2).sum().backward()
    assert all(torch.isfinite(t.grad).all() for t in (x, low, high))


def test_weights_are_clipped_at_gamma_times_the_percentile():
    weight = torch.linspace(-1, 1, 201)
    corrected = ClippedWeight(2, correction=True, percentile=99)
    with torch.no_grad():
        corrected.gamma.fill_(0.5)
    high = 0.5 * np.percentile(weight.abs().numpy(), 99)
    assert corrected(weight).unique().tolist() == pytest.approx([-high, -high / 3, high / 3, high])
    assert ClippedWeight(2, correction=False, percentile=99).high(weight) == 1


def test_gamma_learns_and_the_percentile_does_not():
    weight = torch.linspace(-1, 1, 201, requires_grad=True)
    clipped = ClippedWeight(2, correction=True, percentile=90)
    clipped(weight).square().sum().backward()
    outside = weight.detach().abs() > clipped.high(weight)
    assert outside.any()
    assert (weight.grad[outside] == 0).all()
    assert clipped.gamma.grad > 0


def test_pams_range_is_symmetric():
    signed = LearnedRange(-0.2, 0.7, 4, 1, symmetric=True)
    assert [float(end.detach()) for end in signed.ends()] == pytest.approx([-0.7, 0.7])
    positive = LearnedRange(0.0, 0.7, 4, 1, symmetric=True)
    assert [float(end.detach()) for end in positive.ends()] == pytest.approx([0, 0.7])
    assert [name for name, _ in signed.named_parameters()] == ["high"]


@pytest.mark.parametrize("offsets", [("shift",), ("scale",), ("shift", "scale")])
def test_offsets_fold_into_the_beginning_of_each_channels_codes(offsets):
    generator = torch.Generator().manual_seed(1)
    shift = torch.randn(5, generator=generator) if "shift" in offsets else None
    scale = torch.rand(5, generator=generator) + 0.5 if "scale" in offsets else None
    learned = LearnedRange(-0.5, 1.0, 3, -3, shift=shift, scale=scale)
    frozen = learned.frozen()
    assert isinstance(frozen, OffsetQuantizer)
    x = torch.randn(2, 5, 9, 9, generator=generator)
    moved = x * (scale if scale is not None else torch.ones(5)).view(5, 1, 1)
    moved = moved + (shift if shift is not None else torch.zeros(5)).view(5, 1, 1)
    tie = ((moved + 0.5) / (1.5 / 7) % 1 - 0.5).abs() < 1e-3  # float32 may round these either way
    with torch.no_grad():
        torch.testing.assert_close(frozen(x)[~tie], learned(x)[~tie])
    assert np.allclose(frozen.levels(2)[[0, -1]], [frozen.low[2], frozen.high[2]])


# The regularizers, and when they join


def test_penalties_of_hand_computed_cases():
    x = torch.tensor([[0.0, 2.0], [4.0, 6.0]], requires_grad=True)
    quantized = torch.tensor([[0.0, 2.0], [4.0, 3.0]])
    value = PENALTIES["mismatch"](x, quantized)
    assert value == 3
    value.backward()
    assert x.grad.tolist() == [[0, 0], [0, 1]]
    assert PENALTIES["variance"](x, quantized).item() == pytest.approx(5**0.5)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_against_finite_differences(name):
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    quantized = x.detach().round()
    assert torch.autograd.gradcheck(lambda x: PENALTIES[name](x, quantized), x)


def test_cooperation_by_angle_at_cos_1_0_and_minus_1():
    main_gradient = torch.tensor([1.0, 0.0])
    for regularizer, share in (([3.0, 0.0], 1), ([0.0, 3.0], 0.5), ([-3.0, 0.0], 0)):
        regularizer = torch.tensor(regularizer)
        assert cosine(main_gradient, regularizer) == 2 * share - 1
        assert torch.equal(COOPERATION["angle"](main_gradient, regularizer), share * regularizer)


def test_cooperation_by_sign_is_element_by_element():
    main_gradient = torch.tensor([1.0, 1.0, -2.0, -2.0, 0.0])
    regularizer = torch.tensor([5.0, -5.0, 5.0, -5.0, 5.0])
    assert COOPERATION["sign"](main_gradient, regularizer).tolist() == [5, 0, 0, -5, 0]
    assert conflict(main_gradient, regularizer).item() == pytest.approx(2 / 5)


def test_no_gradient_no_angle():
    assert cosine(torch.zeros(3), torch.ones(3)) == 0


@pytest.mark.parametrize("regularizer", ["none", "naive", "cooperative"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_step_adds_what_cooperates(version, regularizer):
    config = dataclasses.replace(CONFIG, version=version, regularizer=regularizer, lambda_m=0.1)
    training = new_training(config)
    gradients = training.gradients(True)
    assert set(gradients.penalties) == set(LAYERS)
    training.advance(gradients)
    mode = {"none": None, "naive": "naive", "cooperative": VERSIONS[version].cooperation}[regularizer]
    for name, parameter in training.trained():
        main_gradient = gradients.reconstruction[name]
        expected = main_gradient
        inside = "activation_quantizer" in name or "gamma" in name
        if mode and not inside and name in gradients.regularizer:
            expected = main_gradient + 0.1 * COOPERATION[mode](main_gradient, gradients.regularizer[name])
        assert torch.equal(parameter.grad, expected), name


def test_ranges_learn_ten_times_as_fast_and_the_rate_halves_every_quarter():
    training = new_training(dataclasses.replace(CONFIG, steps=8, lr=1e-3))
    rates = []
    for _ in range(8):
        training.advance(training.gradients(True))
        rates.append([group["lr"] for group in training.optimizer.param_groups])
    assert [slow for slow, _ in rates] == pytest.approx(
        [1e-3] * 2 + [5e-4] * 2 + [2.5e-4] * 2 + [1.25e-4] * 2
    )
    assert [fast / slow for slow, fast in rates] == pytest.approx([10] * 8)
    assert len(training.optimizer.param_groups[1]["params"]) == 2 * len(LAYERS)


def test_first_ranges_are_the_mean_percentiles():
    training = new_training()
    batches = [training.batch(CONFIG.steps + i)[0] for i in range(4)]
    seen = []
    with torch.no_grad():
        for batch in batches:
            x = training.reference.head(training.reference.sub_mean(batch))
            seen += [np.percentile(image.flatten().numpy(), [1, 99]) for image in x]
    ends = training.quantizers()[LAYERS[0]].ends()
    assert [float(e.detach()) for e in ends] == pytest.approx(np.mean(seen, axis=0).tolist(), rel=1e-4)


def test_offsets_go_to_the_layers_with_the_largest_mismatch():
    config = dataclasses.replace(CONFIG, version="v1", offset_share=0.5)
    training = new_training(config)
    shifts = [name for name, q in training.quantizers().items() if q.shift is not None]
    scales = [name for name, q in training.quantizers().items() if q.scale is not None]
    assert len(shifts) == len(scales) == 1
    from core import mismatch

    batches = [training.batch(CONFIG.steps + i)[0] for i in range(4)]
    found = mismatch(network(), batches, LAYERS)
    assert shifts == [max(LAYERS, key=lambda name: found[name].mean_channels)]
    assert scales == [max(LAYERS, key=lambda name: found[name].deviation_channels)]


# The run


def finished(config, tmp_path, name="run", **arguments):
    training = new_training(config)
    record = train(training, tmp_path / f"{name}.ckpt", **arguments)
    return training, record


@pytest.mark.parametrize("version", VERSIONS)
def test_what_comes_out_computes_what_was_trained(version, tmp_path):
    config = dataclasses.replace(CONFIG, version=version, lr=3e-3)
    training, _ = finished(config, tmp_path)
    x = make_lr(photographs(1)[0], 2)
    quantized = training.quantized()
    training.model.eval()
    with torch.no_grad():
        ours, theirs = quantized(x), training.model(x)
    # The order of float32 sums moves a few ties.
    assert (ours - theirs).abs().quantile(0.95) < 1e-5
    method = VERSIONS[version].method
    assert {row.method for row in audit(quantized) if not row.reason} == {method}
    for name in LAYERS:
        assert len(quantized.get_submodule(name).weight.unique()) <= 2**config.bits
    before = network()(x)
    assert not torch.equal(before, ours)


def test_it_learns(tmp_path):
    losses = []
    config = dataclasses.replace(CONFIG, bits=2, steps=60, lr=2e-3, batch=4)
    finished(config, tmp_path, report=lambda step, loss, record: losses.append(loss))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


class Killed(Exception):
    pass


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_resumed_run_ends_as_an_uninterrupted_one(version, tmp_path):
    config = dataclasses.replace(CONFIG, version=version)
    pairs = [Pair("a", make_lr(hr, 2), hr) for hr in photographs(1)]
    whole, record = finished(config, tmp_path, "whole", validation=pairs)
    for stop in (1, 4):

        def die(step, loss, record, stop=stop):
            if step == stop:
                raise Killed

        with pytest.raises(Killed):
            finished(config, tmp_path, f"cut{stop}", validation=pairs, report=die)
        again, record_again = finished(config, tmp_path, f"cut{stop}", validation=pairs)
        assert record_again == record
        state = again.model.state_dict()
        for name, value in whole.model.state_dict().items():
            assert torch.equal(state[name], value), name
    assert not list(tmp_path.glob("*.partial"))


def test_the_record(tmp_path):
    pairs = [Pair("a", make_lr(hr, 2), hr) for hr in photographs(1)]
    training, record = finished(CONFIG, tmp_path, validation=pairs)
    assert record["layers"] == LAYERS
    assert record["step"] == list(range(6))
    for curve in ("mismatch", "cosine", "conflict", "low", "high", "gamma"):
        assert np.array(record[curve]).shape == (6, 2)
    assert {by_layer[1] for by_layer in record["cosine"]} == {None}  # no quantized layer comes after the last
    assert all(0 < abs(by_layer[0]) <= 1 for by_layer in record["cosine"])
    assert all(0 <= share[0] <= 1 for share in record["conflict"])
    assert record["psnr"]["step"] == list(range(7))
    assert record["psnr"]["psnr_y"][-1] == pytest.approx(
        evaluate(training.quantized(), pairs, 2).psnr, abs=1e-3
    )
    assert [snapshot["step"] for snapshot in record["snapshots"]] == [None, *range(7)]
    pixels = CONFIG.batch * CONFIG.patch**2 * 4
    for snapshot in record["snapshots"]:
        assert {name: sum(counts) for name, counts in snapshot["histograms"].items()} == dict.fromkeys(
            LAYERS, pixels
        )
    json.dumps(record)


def test_a_quantized_network_as_any_other(tmp_path):
    config = dataclasses.replace(CONFIG, version="v1", offset_share=1.0)
    card = {"model": "tiny"}
    done = run(network(), photographs(), 2, config, tmp_path / "out", card)
    loaded = load_quantized(tmp_path / "out.safetensors")
    x = make_lr(photographs(1)[0], 2)
    with torch.no_grad():
        assert torch.equal(done(x), loaded(x))
    assert loaded.quant_config == config.quant_config
    assert str(audit(loaded)) == str(audit(done))
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved["done"] == CONFIG.steps
    assert saved["model"] == "tiny"
    assert saved["offset_share"] == 1
    assert saved["images"] == 2
    assert saved["record"]["step"][-1] == CONFIG.steps - 1
    with pytest.raises(ValueError, match="quantized already"):
        quantize_model(loaded, x, QuantConfig())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_start_of_a_run_from_its_card(version, tmp_path):
    config = dataclasses.replace(CONFIG, version=version)
    start = new_training(config).quantized()
    run(network(), photographs(), 2, config, tmp_path / "out", {})
    again = quantized_before(network(), json.loads((tmp_path / "out.json").read_text()))
    x = make_lr(photographs(1)[0], 2)
    with torch.no_grad():
        error, off = (start(x) - network()(x)).abs().mean(), (start(x) - again(x)).abs().mean()
    assert off < error / 10  # the record's four digits move a few ties
    assert audit(again)[3].method == VERSIONS[version].method


def test_offsets_cost_and_the_correction_does_not(tmp_path):
    bytes_of = {}
    for version in VERSIONS:
        config = dataclasses.replace(CONFIG, version=version, offset_share=1.0)
        done = new_training(config).quantized()
        bytes_of[version] = cost(done, 16, 16)
    assert bytes_of["v2"] == bytes_of["pams"]
    per_layer = 4 * (2 * 4 + 2) - 4 * 2  # bytes: two numbers a channel and two levels instead of one range
    assert bytes_of["v1"].bytes - bytes_of["v2"].bytes == 2 * per_layer
    assert bytes_of["v1"].bitops == bytes_of["v2"].bitops
    assert {row.constants for row in audit(done) if not row.reason} == {2}
    v1 = dataclasses.replace(CONFIG, version="v1", offset_share=1.0)
    assert {row.constants for row in audit(new_training(v1).quantized()) if not row.reason} == {2 * 4 + 2}


def test_the_float_network_is_left_as_it_is(tmp_path):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = new_training(model=model)
    training.advance(training.gradients(True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(hasattr(module, "quantization") for module in model.modules())


# What goes wrong


def test_the_loss_is_not_finite(tmp_path):
    model = network()
    model.tail[1].bias.data[0] = float("nan")
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0; lower lr"):
        train(new_training(model=model), tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"bits": 1}, "bits must be 2 to 8, got 1"),
        ({"bits": 32}, "bits must be 2 to 8, got 32"),
        ({"version": "v3"}, "no version 'v3'; there are v2, v1, pams"),
        ({"regularizer": "maybe"}, "no regularizer 'maybe'; there are none, naive, cooperative"),
        ({"steps": 0}, "steps must be a whole number above 0, got 0"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lambda_m": float("nan")}, "lambda_m must not be below 0"),
        ({"percentile": 50.0}, "percentile must be above 50"),
        ({"offset_share": 1.5}, "offset_share must be from 0 to 1"),
    ],
)
def test_constants_out_of_range(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        OdmConfig(**wrong)


def test_nothing_to_train_on():
    with pytest.raises(ValueError, match="no training image is at least 16 pixels"):
        QuantizedTraining(network(), PatchSampler([], 2, 8), CONFIG)


def test_no_layer_to_quantize():
    with pytest.raises(ValueError, match="no layer to quantize"):
        new_training(layers=[])


def test_a_checkpoint_of_another_run(tmp_path):
    finished(CONFIG, tmp_path)
    with pytest.raises(ValueError, match=r"was made with config .*choose another --out"):
        finished(dataclasses.replace(CONFIG, seed=4), tmp_path)


def test_odm_is_not_calibrated():
    images = calibration_patches([make_lr(photographs(1)[0], 2)], 2, 8)
    with pytest.raises(ValueError, match=r"odm is learned in training, not calibrated: use core\.odm"):
        quantize_model(network(), images, QuantConfig("odm"))


def test_the_middle_of_the_validation_images():
    hr = torch.rand(1, 3, 20, 28)
    (pair,) = middles([Pair("a", hr[..., ::2, ::2], hr)], 2, side=8)
    assert torch.equal(pair.hr, hr[..., 2:18, 6:22])
    assert torch.equal(pair.lr, hr[..., ::2, ::2][..., 1:9, 3:11])


# The command


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(photographs()):
        array = (image[0] * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(array).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


def command(folder, *more):
    photos = str(folder / "photos")
    return [
        "core.odm",
        "--model",
        "edsr",
        "--scale",
        "2",
        "--data",
        photos,
        "--validation",
        photos,
        "--out",
        str(folder / "out" / "run"),
        "--batch",
        "2",
        "--patch",
        "8",
        *more,
    ]


def test_the_command(folder, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", command(folder, "--steps", "4", "--no-correction", "--regularizer", "naive")
    )
    main()
    assert "odm W2A2, naive regularizer: " in capsys.readouterr().out
    card = json.loads((folder / "out" / "run.json").read_text())
    assert card["scores"]["photos"]["psnr_y"] > 10
    assert card["correction"] is False
    assert card["validation"] == "photos, the middle 96x96 LR pixels"
    assert len(audit(load(folder / "out" / "run.safetensors"))) > 4


def test_the_command_says_what_is_wrong(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", command(folder, "--bits", "9"))
    with pytest.raises(SystemExit, match="bits must be 2 to 8, got 9"):
        main()


def test_the_command_stops_and_goes_on(folder):
    argv = [sys.executable, "-m", *command(folder, "--steps", "400")]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "out" / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command goes on from" in error
    state = torch.load(folder / "out" / "run.ckpt", weights_only=True)
    assert 0 < state["step"] < 400


def test_the_table_is_the_mean_over_seeds(tmp_path, monkeypatch, capsys):
    common = {"model": "edsr", "scale": 2, "steps": 9, "patch": 8, "lambda_m": 1e-5}
    cards = [
        common | {"label": "a", "scores": {"Set5": {"psnr_y": 30.0}}},
        common | {"label": "a", "scores": {"Set5": {"psnr_y": 31.0}}},
        common | {"label": "b", "scores": {"Set5": {"psnr_y": 29.5}}},
        common | {"label": "b"},
    ]
    for i, card in enumerate(cards):
        (tmp_path / f"{i}.json").write_text(json.dumps(card))
    monkeypatch.setattr(sys, "argv", ["core.odm_table", *map(str, sorted(tmp_path.glob("*.json")))])
    table_main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 runs are not over and left out"
    assert lines[2].split() == ["edsr", "x2", "a", "9", "8", "1e-05", "2", "30.500", "±0.707"]
    assert lines[3].split()[-2:] == ["1", "29.500"]
