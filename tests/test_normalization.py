"""Normalization by blocks; that of whole images is tested with its quantizer."""

import numpy as np
import pytest
import torch

from core import METHODS, QuantConfig, calibrate, load_quantized, quantize_model, save_quantized
from core.lookup import nearest_points, reference
from core.models import SwinIR
from core.moments import Moments
from core.normalization import block_normalization, block_size, moments_of, normalization, spread
from core.quantizers import SubsetQuantizer, nearest_codes

POINTS = np.array([[-1, -0.25, 0, 0.75], [-0.5, 0, 0.25, 1], [-1, 0, 0.5, 1]])


@pytest.mark.parametrize(
    ("shape", "block", "size"),
    [((32, 48), 16, (16, 16)), ((40, 7), 16, (20, 7)), ((23, 24), 16, (23, 12)), ((1, 100), 32, (1, 34))],
)
def test_blocks_are_as_equal_as_can_be(shape, block, size):
    assert block_size(torch.zeros(1, 1, *shape), block) == size


@pytest.mark.parametrize("post_relu", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 11, 14), (3, 11, 14)])
def test_every_block_is_normalized_as_an_image_of_its_own(shape, post_relu):
    x = torch.randn(shape).abs() if post_relu else torch.randn(shape)
    mean, scale = normalization(x, -3, post_relu, block=5)
    height, width = block_size(x, 5)
    assert (height, width) == (6, 5)
    filled = torch.nn.functional.pad(x, (0, 1, 0, 1), "replicate")  # to 12 x 15
    for top in range(0, 11, height):
        for left in range(0, 14, width):
            own = filled[..., top : top + height, left : left + width]
            inside = (..., slice(top, min(top + height, 11)), slice(left, min(left + width, 14)))
            for found, expected in zip((mean, scale), normalization(own, -3, post_relu), strict=True):
                part = found[inside]
                assert torch.allclose(part, expected.expand_as(part), atol=1e-6)


def test_one_block_is_the_whole_image():
    x = torch.randn(2, 3, 9, 8)
    for post_relu in (True, False):
        whole, block = normalization(x, 1, post_relu), normalization(x, 1, post_relu, 64)
        assert all(torch.allclose(a.expand_as(x), b, atol=1e-7) for a, b in zip(whole, block, strict=True))
    whole, block = (SubsetQuantizer(POINTS, 1 / 4, True, 2, 1, side) for side in (0, 64))
    assert torch.equal(whole(x.abs()), block(x.abs()))


def test_what_is_no_image_has_no_blocks():
    tokens = torch.randn(2, 40, 6)
    for plain, block in zip(
        normalization(tokens, -1, False), normalization(tokens, -1, False, 4), strict=True
    ):
        assert torch.equal(plain, block)


def test_compiled_and_reference_agree_on_blocks():
    x = torch.randn(2, 3, 37, 50)
    size = block_size(x, 8)
    mean, scale = block_normalization(x, size, False)
    levels = torch.from_numpy(POINTS).float()
    arguments = (x, mean, scale, nearest_codes(levels.double(), 4), levels, 1, size)
    assert torch.equal(nearest_points(*arguments), reference(*arguments))
    plain = (x, spread(mean, size, x), spread(scale, size, x), *arguments[3:6])
    assert torch.equal(reference(*plain), reference(*arguments))


def test_moments_are_of_the_normalized_blocks():
    x, moments, expected = torch.randn(2, 3, 12, 12), Moments(3, 1 / 8), Moments(3, 1 / 8)
    moments_of(x, moments, 1, False, block=4)
    for top in range(0, 12, 4):
        for left in range(0, 12, 4):
            moments_of(x[..., top : top + 4, left : left + 4].contiguous(), expected, 1, False)
    assert np.array_equal(moments.count, expected.count)
    assert np.allclose(moments.sum, expected.sum)


def test_gradient_passes_straight_through_blocks():
    x = torch.randn(1, 3, 9, 9, requires_grad=True)
    SubsetQuantizer(POINTS, 1 / 4, False, 2, 1, 4)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_a_calm_region_is_quantized_finer_beside_a_wild_one():
    x = torch.zeros(1, 1, 16, 32)
    x[..., :16] = 0.01 * torch.rand(16, 16)
    x[..., 16:] = torch.rand(16, 16)
    whole, blocks = (SubsetQuantizer([[0, 0.25, 0.5, 1]], 1 / 4, True, 2, 1, side)(x) for side in (0, 16))
    errors = [float((y - x)[..., :16].square().mean()) for y in (whole, blocks)]
    assert errors[1] < errors[0] / 4
    assert torch.equal(whole[..., 16:], blocks[..., 16:])


def test_the_configuration_decides_and_is_kept(images, tiny_edsr, tmp_path):
    assert METHODS["dfsq"].block == 0
    assert METHODS["dfsq+"].block > 0
    blocks = quantize_model(tiny_edsr, images, QuantConfig("dfsq", block=4))
    assert not torch.equal(blocks(images), quantize_model(tiny_edsr, images, QuantConfig("dfsq"))(images))
    save_quantized(blocks, tmp_path / "a.safetensors")
    assert torch.equal(load_quantized(tmp_path / "a.safetensors")(images), blocks(images))
    assert str(QuantConfig("dfsq", block=4)) == "dfsq-exact W4A4, blocks of 4"
    calibration = calibrate(tiny_edsr, images, QuantConfig("dfsq"))
    with pytest.raises(ValueError, match="the calibration was made for another block_side; calibrate again"):
        quantize_model(tiny_edsr, calibration, QuantConfig("dfsq", block=4))


@pytest.mark.parametrize("block", [-1, 5000, 2.0, True, "16"])
def test_wrong_blocks(block):
    with pytest.raises(ValueError, match="block must be a side of 0 to 4,096 pixels"):
        QuantConfig(block=block)


def test_transformers_keep_their_tokens_together():
    model = SwinIR(2, n_feats=4, depths=(2,), n_heads=2, window=4, hidden=6).eval()
    x = torch.rand(1, 3, 8, 8)
    whole, blocks = (quantize_model(model, x, QuantConfig("dfsq", block=side))(x) for side in (0, 4))
    assert torch.equal(whole, blocks)
