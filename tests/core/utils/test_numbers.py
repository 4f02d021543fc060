"""What is no number that can be is one sentence, before anything is computed."""

import pytest

from core import Pair, QuantConfig, calibration_patches, evaluate, make_lr, quantize_model, super_resolve
from core import tune_ranges as tune
from core.analysis.sensitivity import sensitivity


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "4", None])
def test_whole_numbers(value, tiny_edsr, images):
    quantized = quantize_model(tiny_edsr, images, QuantConfig("mse"))
    calls = {
        "scale": lambda: make_lr(images, value),
        "size": lambda: calibration_patches([images], 2, value),
        "n_patches": lambda: calibration_patches([images], value, 8),
        "steps": lambda: tune(tiny_edsr, quantized, images, steps=value, batch=1, patch=8),
        "batch": lambda: tune(tiny_edsr, quantized, images, steps=1, batch=value, patch=8),
        "patch": lambda: tune(tiny_edsr, quantized, images, steps=1, batch=1, patch=value),
    }
    if value is not None:
        calls["tile"] = lambda: super_resolve(tiny_edsr, images, tile=value)
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 1, got"):
            call()


@pytest.mark.parametrize("seed", [-1, True, 0.5])
def test_seeds(seed):
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
        QuantConfig(seed=seed)


def test_what_is_missing_or_mixed(tiny_edsr, images):
    quantized = quantize_model(tiny_edsr, images, QuantConfig("mse"))
    with pytest.raises(ValueError, match="at least one LR image"):
        sensitivity(tiny_edsr, quantized, [])
    with pytest.raises(ValueError, match="some LR images have one channel and some three"):
        tune(tiny_edsr, quantized, [images, images[:, :1]], steps=1, batch=1, patch=8)
    with pytest.raises(ValueError, match="put the one in a list"):
        evaluate(tiny_edsr, Pair("one", images[:1], images[:1]), 2)
    for layers in (5, [tiny_edsr]):
        with pytest.raises(ValueError, match="layers must be a list of names, or a predicate"):
            quantize_model(tiny_edsr, images, QuantConfig("mse"), layers=layers)
