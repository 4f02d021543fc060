"""Networks of 0 to 255 as networks of [0, 1]."""

import copy

import pytest
import torch
from strangers import stranger

from core import QuantConfig, quantize_model, super_resolve, unit_range


class Around(torch.nn.Module):
    """The network as one of images in [0, 255]."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return 255 * self.net(x / 255)


@pytest.mark.parametrize("name", ["Attention", "Luma", "WeightNorm"])
def test_it_computes_the_same_and_its_layers_keep_their_names(name, images):
    plain = stranger(name)
    made = unit_range(Around(plain), 255)
    assert torch.allclose(super_resolve(made, images), super_resolve(plain, images), atol=1e-4)
    assert {f"net.{key}" for key in unit_range(plain, 1).state_dict()} == set(made.state_dict())


def test_the_picture_is_taken_of_several_outputs_and_copies_do_so_too(images):
    made = unit_range(Pictures(), 255)
    expected = 2 * images.repeat_interleave(2, 2).repeat_interleave(2, 3) - 1
    for model in (made, copy.deepcopy(made)):
        assert torch.allclose(model(images), expected, atol=1e-5)


class Pictures(torch.nn.Module):
    """Returns a doubled picture without 255, and its features."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return {
            "features": [x.mean((2, 3))],
            "sr": 2 * self.one * x.repeat_interleave(2, 2).repeat_interleave(2, 3) - 255,
        }


def test_quantized_at_eight_bits_it_is_near_to_itself(images):
    made = unit_range(Around(stranger("Attention")), 255)
    quantized = quantize_model(made, images, QuantConfig("minmax", 8, 8))
    far = (super_resolve(quantized, images) - super_resolve(made, images)).abs().mean()
    assert 0 < far < 0.01


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="must end above 0, such as 255, got 0"):
        unit_range(stranger("Luma"), 0)
    with pytest.raises(ValueError, match="got str; core"):
        unit_range("a.pth", 255)
