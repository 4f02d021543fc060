import dataclasses
import json

import numpy as np
import pytest
import torch
from odm import CONFIG, LAYERS, finished, network, new_training, photographs

from core import (
    QuantConfig,
    audit,
    evaluate,
    load_quantized,
    make_lr,
    quantize_model,
)
from core.analysis.cost import cost
from core.images import Pair
from core.qat.config import VERSIONS
from core.qat.frozen import quantized_before
from core.qat.odm_loss import COOPERATION
from core.qat.run import middles, run


@pytest.mark.parametrize("regularizer", ["none", "naive", "cooperative"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_step_adds_what_cooperates(version, regularizer):
    """Which parameters get what; the formulas of COOPERATION have tests by hand (test_fake_quantization)."""
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


def test_a_run_begun_on_a_gpu_goes_on_on_a_cpu(tmp_path):
    training = new_training()
    training.advance(training.gradients(True))
    for group in training.optimizer.param_groups:  # as on a GPU
        group.update(lr=torch.tensor(group["lr"]), capturable=True)
    training.save(tmp_path / "run.ckpt", {})
    resumed = new_training()
    resumed.resume(tmp_path / "run.ckpt")
    resumed.advance(resumed.gradients(True))
    assert all(group["capturable"] is False for group in resumed.optimizer.param_groups)


# The run


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
    share = 0.8 if version == "pams" else 0.95  # it quantizes sums that are on levels already
    assert (ours - theirs).abs().quantile(share) < 1e-5
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
    done = run(new_training(config), tmp_path / "out", card)
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
    run(new_training(config), tmp_path / "out", {})
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
    per_layer = 2 * (2 * 4 + 2) - 2 * 2  # bytes: two numbers a channel and two levels instead of one range
    assert bytes_of["v1"].bytes - bytes_of["v2"].bytes == 2 * per_layer
    assert bytes_of["v1"].bitops == bytes_of["v2"].bitops
    v2 = dataclasses.replace(CONFIG, version="v2")
    assert {row.constants for row in audit(new_training(v2).quantized()) if not row.reason} == {2}
    v1 = dataclasses.replace(CONFIG, version="v1", offset_share=1.0)
    assert {row.constants for row in audit(new_training(v1).quantized()) if not row.reason} == {2 * 4 + 2}


def test_the_float_network_is_left_as_it_is(tmp_path):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = new_training(model=model)
    training.advance(training.gradients(True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(hasattr(module, "quantization") for module in model.modules())


def test_the_middle_of_the_validation_images():
    hr = torch.rand(1, 3, 20, 28)
    (pair,) = middles([Pair("a", hr[..., ::2, ::2], hr)], 2, side=8)
    assert torch.equal(pair.hr, hr[..., 2:18, 6:22])
    assert torch.equal(pair.lr, hr[..., ::2, ::2][..., 1:9, 3:11])
