"""Microscaling formats against cases worked out by hand from their specifications."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from core import QuantConfig, quantize_model
from core.quantizers.microscaling import (
    ELEMENTS,
    FORMATS,
    MicroscalingQuantizer,
    microscaled,
    microscaled_weight,
    weight_side_bits,
)

MX, NVFP4 = FORMATS["mx"], FORMATS["nvfp4"]
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def block(*values):
    return torch.tensor(values).view(1, -1)


def test_mxfp4_by_hand():
    # The largest is 7.9: floor(log2) is 2, as that of the largest element, so the scale is 1. Ties to even.
    x = block(0.0, 0.2, 0.25, 0.3, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 5.1, -6.0, 7.9)
    expected = [0, 0, 0, 0.5, 1, 1, 2, 2, 4, 4, 6, -6, 6]
    assert microscaled(x, 1, MX, 4)[0].tolist() == expected
    # 8.0 doubles the scale, 3.9 halves it.
    assert microscaled(block(8.0, 1.0, 1.4, 5.0), 1, MX, 4)[0].tolist() == [8, 1, 1, 4]
    assert microscaled(block(3.9, 0.3, -0.1), 1, MX, 4)[0].tolist() == [3, 0.25, 0]


def test_mxint8_and_mxfp6_by_hand():
    # INT8: steps of 1/64 of the scale, at most 127 of them; here the scale is 2^1.
    x = block(3.99, 1.0, 0.046875, -0.03)
    assert microscaled(x, 1, MX, 8)[0].tolist() == [3.96875, 1, 0.0625, -0.03125]
    # FP6 E2M3: steps of 1/8 to 2, 1/4 to 4, 1/2 to 7.5; here the scale is 1.
    x = block(7.6, 7.3, 3.1, 1.9, 0.07)
    assert microscaled(x, 1, MX, 6)[0].tolist() == [7.5, 7.5, 3, 1.875, 0.125]


def test_nvfp4_by_hand():
    # Largest of all tensors 2688 = 6 x 448, so the tensor's scale is 1, and a block's is max / 6 in E4M3.
    # 60 / 6 = 10 is one: levels 5, 10, 15, 20, 30, 40, 60. 6.3 / 6 = 1.05 goes to 1.
    x = torch.cat([block(60.0, 7.4, 7.6, 26.0), torch.zeros(1, 12), block(6.3, 0.7, 0.8)], 1)
    found = microscaled(x, 1, NVFP4, 4, 2688.0)[0]
    assert found[:4].tolist() == [60, 5, 10, 30]
    assert found[16:].tolist() == [6, 0.5, 1]
    # E4M3 of 1.1 is 1.125: between 1 and 1.25 there is one value.
    assert microscaled(block(6.6), 1, NVFP4, 4, 2688.0)[0].tolist() == [6.75]


@pytest.mark.parametrize(("name", "bits"), [("mx", 4), ("mx", 6), ("mx", 8), ("nvfp4", 4)])
def test_blocks_run_along_the_channels_and_know_nothing_of_each_other(name, bits):
    form = FORMATS[name]
    x = torch.randn(2, 40, 5, 7) * torch.logspace(-2, 2, 40)[:, None, None]
    largest = float(x.abs().max())
    whole = microscaled(x, 1, form, bits, largest)
    for first in range(0, 40, form.block):
        part = x[:, first : first + form.block]
        assert torch.equal(microscaled(part, 1, form, bits, largest), whole[:, first : first + form.block])
    assert torch.equal(microscaled(x[..., 2:3, 4:5], 1, form, bits, largest), whole[..., 2:3, 4:5])
    assert torch.equal(microscaled(x.movedim(1, -1), -1, form, bits, largest).movedim(-1, 1), whole)
    # The same without the compiled loops, and on the levels of the format.
    plain = microscaled(x.double(), 1, form, bits, largest)
    assert torch.allclose(plain.float(), whole, rtol=1e-6)
    quantizer = MicroscalingQuantizer(name, bits, 1, largest)
    units = (whole / quantizer.scales(x)).double().numpy().ravel()
    assert np.abs(units[:, None] - quantizer.levels(0)).min(1).max() < 1e-5


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_elements_are_those_of_the_format(bits):
    levels = MicroscalingQuantizer("mx", bits, 1).levels(0)
    assert len(levels) == 2**bits - 1  # two codes mean 0, or (INT8) one is not used
    assert levels[-1] == ELEMENTS[bits].largest
    if bits == 4:
        assert levels[7:].tolist() == E2M1


def test_zeros_tiny_values_and_what_is_no_number():
    for name in FORMATS:
        zeros = torch.zeros(1, 32, 2, 2)
        assert torch.equal(microscaled(zeros, 1, FORMATS[name], 4, 1.0), zeros)
        tiny = torch.full((1, 32), 1e-42)
        assert microscaled(tiny, 1, FORMATS[name], 4, 1.0).abs().max() <= 1e-38
        x = torch.ones(1, 4, 1, 1)
        x[0, 1] = torch.nan
        found = microscaled(x, 1, FORMATS[name], 4, 1.0)
        assert found.flatten().isnan().tolist() == [False, True, False, False]
        assert microscaled(torch.empty(0, 8, 2, 2), 1, FORMATS[name], 4, 1.0).shape == (0, 8, 2, 2)


def test_weights_have_blocks_along_their_input_channels():
    conv, up = nn.Conv2d(64, 5, 3), nn.ConvTranspose2d(64, 5, 3)
    found = microscaled_weight(conv.weight.detach(), conv, MX, 4)
    part = conv.weight.detach()[2:3, 32:, 1:2, 1:2]
    assert torch.equal(found[2:3, 32:, 1:2, 1:2], microscaled(part, 1, MX, 4))
    assert weight_side_bits(conv, MX) == 2 * 5 * 9 * 8
    found = microscaled_weight(up.weight.detach(), up, MX, 4)
    assert torch.equal(found[:32, 1, 0, 0], microscaled(up.weight.detach()[:32, 1, 0, 0], 0, MX, 4))


def test_methods_quantize_and_are_copied(images, tiny_edsr):
    for method in ("mx", "nvfp4"):
        quantized = quantize_model(tiny_edsr, images, QuantConfig(method))
        assert torch.equal(copy.deepcopy(quantized)(images), quantized(images))
        # A crop is quantized as the whole is.
        layer = quantized.get_submodule("body.0.body.2").activation_quantizer
        x = torch.rand(1, 6, 12, 12)
        assert torch.equal(layer(x)[..., 3:9, 3:9], layer(x[..., 3:9, 3:9]))
    with pytest.raises(ValueError, match="NVFP4 has elements of 4 bits, not of 6"):
        QuantConfig("nvfp4", 6, 6)


def test_bias_correction_goes_with_blocks(images, tiny_edsr):
    config = QuantConfig("mx", refine=("reconstruction", "bias"))
    quantized = quantize_model(tiny_edsr, images, config)
    plain = quantize_model(tiny_edsr, images, QuantConfig("mx"))
    assert not torch.equal(quantized.body[0].body[0].weight, plain.body[0].body[0].weight)
    expected = microscaled_weight(quantized.body[0].body[0].weight.detach(), quantized.body[0].body[0], MX, 4)
    assert torch.equal(quantized.body[0].body[0].weight, expected)
