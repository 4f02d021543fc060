"""What goes wrong with a training."""

import dataclasses

import pytest
from odm import CONFIG, finished, network, new_training, photographs
from other_networks import Plain, Rewritten, conv
from torch.nn.utils.parametrizations import weight_norm

from core import (
    QuantConfig,
    audit,
    calibration_patches,
    make_lr,
    quantize_model,
)
from core.qat.config import OdmConfig
from core.qat.run import train
from core.qat.training import QuantizedTraining
from core.training.patches import PatchSampler


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


def test_networks_of_others():
    with pytest.raises(ValueError, match="the network writes the weights of a anew at every forward"):
        new_training(model=Rewritten())
    done = new_training(model=Plain(lambda *sizes: weight_norm(conv(*sizes))), layers=["a"]).quantized()
    assert [row.name for row in audit(done) if row.weight_bits == 3] == ["a"]
    done.a.weight.data.normal_()
    assert all(row.weight_bits == 32 for row in audit(done))


def test_no_layer_to_quantize():
    with pytest.raises(ValueError, match="no layer to quantize"):
        new_training(layers=[])


def test_a_checkpoint_of_another_run(tmp_path):
    finished(CONFIG, tmp_path)
    with pytest.raises(ValueError, match=r"was made with config .*choose another --out"):
        finished(dataclasses.replace(CONFIG, seed=4), tmp_path)


def test_odm_is_not_calibrated():
    images = calibration_patches([make_lr(photographs(1)[0], 2)], 2, 8)
    with pytest.raises(
        ValueError, match="odm is learned in training, not calibrated: use python -m core odm"
    ):
        quantize_model(network(), images, QuantConfig("odm"))
