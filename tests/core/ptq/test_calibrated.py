"""What a calibration serves, and what it sees."""

import pytest
import torch
from torch import nn

import core.ptq.quantize
from core import QuantConfig, UniversalSet, audit, calibrate, quantize_model

DFSQ = QuantConfig()


def test_calibration_sees_eval_mode(images):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.9), nn.Conv2d(3, 3, 1))
    quantized = quantize_model(model, images, QuantConfig("minmax", 8, 32), ["2"])
    assert quantized[2].activation_quantizer.high == pytest.approx(float(images.max()), rel=1e-4)
    assert torch.equal(model[0].running_mean, torch.zeros(3))


def test_generator_is_streamed_once(images, tiny_edsr):
    taken = []

    def stream():
        for image in images.split(1):
            taken.append(len(image))
            yield image

    done = []
    streamed = quantize_model(tiny_edsr, stream(), DFSQ, progress=lambda *told: done.append(told))
    assert taken == [1, 1, 1]
    assert [what for what, _ in done] == ["Calibrating"] * 3
    for other in (images, list(images.split(2))):
        assert torch.equal(streamed(images), quantize_model(tiny_edsr, other, DFSQ)(images))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: iter(x.split(1))])
def test_groups_of_layers_give_the_same(wrap, images, tiny_edsr, monkeypatch):
    together = quantize_model(tiny_edsr, images, DFSQ)
    monkeypatch.setattr(core.ptq.quantize, "MAX_MOMENTS_BYTES", 1)
    done = []
    apart = quantize_model(tiny_edsr, wrap(images), DFSQ, progress=lambda what, share: done.append(share))
    assert done[-1] == 1
    assert len(done) % 4 == 0  # a pass for each layer
    assert done == sorted(done)
    assert torch.equal(apart(images), together(images))
    assert audit(apart) == audit(together)


def test_one_calibration_serves_bits_selectors_and_layers(images, tiny_edsr):
    calibration = calibrate(tiny_edsr, images, DFSQ)
    first = ["body.0.body.0"]
    for config, layers in (
        (QuantConfig(activation_bits=6, weight_bits=2), None),
        (QuantConfig(activation_bits=2, selector="kmeans", seed=3), None),
        (DFSQ, first),
    ):
        again = quantize_model(tiny_edsr, calibration, config, layers)
        own = quantize_model(tiny_edsr, images, config, layers)
        assert torch.equal(again(images), own(images))
        assert audit(again) == audit(own)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (QuantConfig("minmax"), "static ranges"),
        (QuantConfig("daq"), "normalization 'deviation'"),
        (QuantConfig(universal_set=UniversalSet(3, 3)), "normalization 'image', .* a grid of 1/24"),
        (QuantConfig(side_bits=8), "normalization 'image', 8 bits"),
    ],
)
def test_a_calibration_for_something_else(config, what, images, tiny_edsr):
    calibration = calibrate(tiny_edsr, images, DFSQ)
    with pytest.raises(
        ValueError, match=f"made for normalization 'image', .* not for {what}.*calibrate again"
    ):
        quantize_model(tiny_edsr, calibration, config)


def test_a_calibration_without_the_layer(images, tiny_edsr):
    calibration = calibrate(tiny_edsr, images, DFSQ)
    with pytest.raises(ValueError, match=r"does not cover head.0"):
        quantize_model(tiny_edsr, calibration, DFSQ, ["head.0"])


@pytest.mark.parametrize("calibration", [[], iter([]), torch.empty(0, 3, 8, 8)])
def test_empty_calibration(calibration, tiny_edsr):
    with pytest.raises(ValueError, match=r"got none|must not be empty"):
        quantize_model(tiny_edsr, calibration, DFSQ)


def test_methods_of_one_normalization_share_a_calibration(images, tiny_edsr):
    calibration = calibrate(tiny_edsr, images, QuantConfig("dfsq"))
    for method in ("dfsq-exact", "dfsq+", "uniform+"):
        again = quantize_model(tiny_edsr, calibration, QuantConfig(method, 3, 3))
        own = quantize_model(tiny_edsr, images, QuantConfig(method, 3, 3))
        assert torch.equal(again(images), own(images))


def test_float_activations_need_no_moments(images, tiny_edsr):
    weights_only = QuantConfig(activation_bits=32)
    calibration = calibrate(tiny_edsr, images, weights_only)
    quantized = quantize_model(tiny_edsr, calibration, weights_only)
    expected = quantize_model(tiny_edsr, calibrate(tiny_edsr, images, DFSQ), weights_only)
    assert torch.equal(quantized(images), expected(images))
    assert [row.post_relu for row in audit(quantized)] == [row.post_relu for row in audit(expected)]
    with pytest.raises(ValueError, match="calibrate again with 2 to 8 bits"):
        quantize_model(tiny_edsr, calibration, DFSQ)
