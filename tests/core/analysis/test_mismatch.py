import numpy as np
import pytest
import torch
from torch import nn

from core import QuantConfig, calibrate
from core.analysis.mismatch import Spreads, mismatch, mismatch_of
from core.models import SwinIR


class Shifted(nn.Module):
    """Hands its input on with a shift and a scale for every channel."""

    def __init__(self, shift, scale):
        super().__init__()
        self.shift, self.scale = (torch.tensor(v).view(-1, 1, 1) for v in (shift, scale))
        self.conv, self.idle = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x * self.scale + self.shift)


def gray(n=4, size=16):
    """Images whose three channels are the same."""
    return torch.rand(n, 1, size, size).expand(-1, 3, -1, -1).contiguous()


def test_by_hand():
    mean = torch.tensor([[0.0, 2.0], [0.0, 2.0]]).double()
    deviation = torch.ones(2, 2).double()
    found = mismatch_of(mean, deviation)
    assert found == pytest.approx((1 / np.sqrt(2), 0, 0, 0))  # variance 1 within, 1 between
    found = mismatch_of(mean.T, deviation)
    assert found == pytest.approx((0, 1 / np.sqrt(2), 0, 0))
    found = mismatch_of(torch.zeros(2, 2).double(), torch.tensor([[1.0, 3.0], [1.0, 3.0]]).double())
    assert found == pytest.approx((0, 0, 1 / np.sqrt(5), 0))


def test_equal_channels_have_no_mismatch_across_channels():
    found = mismatch(Shifted([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]), gray(), ["conv"])["conv"]
    assert found.mean_channels == pytest.approx(0, abs=1e-9)
    assert found.deviation_channels == pytest.approx(0, abs=1e-9)
    assert found.mean_images > 0


def test_against_numpy():
    x = torch.rand(5, 3, 9, 7)
    model = Shifted([0.0, 1.0, -2.0], [1.0, 3.0, 0.5])
    found = mismatch(model, x, ["conv"])["conv"]
    y = (x * model.scale + model.shift).double().numpy()
    total = y.std()
    mean, deviation = y.mean((2, 3)), y.std((2, 3))
    expected = []
    for part in (mean, deviation):
        expected += [part.mean(0).std() / total, np.sqrt(part.var(0).mean()) / total]
    assert found == pytest.approx(expected, rel=1e-5)


def test_scale_of_the_activations_does_not_matter(images, tiny_edsr):
    layers = ["body.0.body.0", "body.1.body.2"]
    plain = mismatch(tiny_edsr, images, layers)
    model = Shifted([0.0] * 3, [1.0] * 3)
    assert mismatch(model, images, ["conv"])["conv"] == pytest.approx(
        mismatch(model, images * 0.5, ["conv"])["conv"], rel=1e-5
    )
    assert list(plain) == layers
    assert plain == mismatch(tiny_edsr, [images[:1], images[1:]], layers)


def test_layers_never_called_are_left_out_and_linear_layers_count(images):
    assert list(mismatch(Shifted([0.0] * 3, [1.0] * 3), images, ["conv", "idle"])) == ["conv"]
    model = SwinIR(2, n_feats=4, depths=(2,), n_heads=2, window=4, hidden=6)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert list(mismatch(model, images, names)) == names


def test_the_model_is_left_as_it_is(images, tiny_edsr):
    tiny_edsr.train()
    done = []
    mismatch(tiny_edsr, images, ["tail.1"], lambda what, share: done.append(share))
    assert tiny_edsr.training
    assert not any(module._forward_pre_hooks for module in tiny_edsr.modules())
    assert done[-1] == 1


def test_from_the_pass_of_a_calibration(images, tiny_edsr):
    layers = ["body.0.body.0", "body.1.body.2"]
    spreads, alone = Spreads(tiny_edsr, layers), mismatch(tiny_edsr, images, layers)
    calibrate(tiny_edsr, images, QuantConfig("minmax"), layers, watch=spreads.record)
    assert spreads.mismatch().keys() == alone.keys()
    for layer, found in spreads.mismatch().items():
        assert found == pytest.approx(alone[layer], rel=1e-4)


def test_windows_of_one_image_stay_together(images):
    """As in transformers, whose layers get (images * windows, tokens, channels)."""
    model = SwinIR(2, n_feats=4, depths=(2,), n_heads=2, window=4, hidden=6)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    spreads, alone = Spreads(model, names), mismatch(model, images, names)
    calibrate(model, images, QuantConfig("minmax"), names, watch=spreads.record)
    for layer, found in spreads.mismatch().items():
        assert found == pytest.approx(alone[layer], rel=1e-3, abs=1e-6)
