"""Layers whose input has one value a channel."""

import pytest
import torch
from other_networks import Attention, run

from core.analysis.cost import cost
from core.ptq.calibration import layer_inputs
from core.ptq.config import QuantConfig
from core.ptq.methods import METHODS
from core.ptq.quantize import quantize_model
from core.quantizers.normalized import SubsetQuantizer

MINMAX = QuantConfig("minmax", 4, 4)


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m not in ("mx", "nvfp4", "mse-channel", "piecewise")]
)
@pytest.mark.parametrize("linear", [False, True])
def test_pooled_features_take_at_most_the_levels(linear, method, images):
    torch.manual_seed(0)
    model = Attention(linear).eval()
    quantized = quantize_model(model, images, QuantConfig(method, 2, 32, refine=()), layers=["down"])
    seen = []
    quantized.down.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    run(quantized, images[:1])
    (received,) = layer_inputs(model, "down", images[:1])
    assert len(seen[0].unique()) <= 4 < len(received.unique())
    assert (seen[0] - received).abs().max() > 1e-3 * received.abs().max()


def test_pooled_features_by_hand():
    """Signed: mean 1, largest distance 3, points -1, 0, 1: of -2, 1, 0.4, 4.6 the levels -2, 1, 1, 4."""
    x = torch.tensor([-2.0, 1.0, 0.4, 4.6])
    quantizer = SubsetQuantizer([[-1.0, 0.0, 1.0]], 1 / 1024, False, 2, -3)
    assert torch.allclose(quantizer(x.view(1, 4, 1, 1)).flatten(), torch.tensor([1 - 3.6, 1.0, 1.0, 4.6]))


def test_pooled_layers_do_not_grow_with_the_image(images):
    torch.manual_seed(0)
    model = Attention().eval()
    small, large = (cost(model, side, side).macs for side in (48, 96))
    pooled = 2 * 8 * 8
    assert large - pooled == 4 * (small - pooled)
