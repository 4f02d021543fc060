"""Normalization: by whole images, by blocks, and with fewer bits of side information."""

import numpy as np
import pytest
import torch

from core import Moments, QuantConfig, UniversalSet, calibrate, load_quantized, quantize_model, save_quantized
from core.models import SwinIR
from core.ptq.observers import NormalizedObserver, add_normalized
from core.quantizers.lookup import nearest_points_in_blocks, reference, reference_in_blocks
from core.quantizers.normalization import EPS, Normalization, block_normalization, block_size, spread
from core.quantizers.normalized import NormalizedUniformQuantizer, SubsetQuantizer, nearest_codes

POINTS = np.array([[-1, -0.25, 0, 0.75], [-0.5, 0, 0.25, 1], [-1, 0, 0.5, 1]])


def test_normalization_by_hand():
    x = torch.tensor([[[0.0, 1, 4], [-1, 1, 6]], [[0, 0, 2], [5, 5, 5]]])
    mean, scale = Normalization(1, False)(x)
    assert torch.allclose(mean, torch.tensor([[5 / 3, 2], [2 / 3, 5]])[..., None])
    assert torch.allclose(scale, torch.tensor([[7 / 3, 4], [4 / 3, EPS]])[..., None])
    mean, scale = Normalization(1, True)(x)
    assert mean.count_nonzero() == 0
    assert torch.allclose(scale, torch.tensor([[4.0, 6], [2, 5]])[..., None])


@pytest.mark.parametrize(
    ("shape", "dim", "expected"),
    [
        ((2, 3, 4, 5), 1, (2, 3, 1, 1)),
        ((2, 3, 4, 5), -3, (2, 3, 1, 1)),
        ((3, 4, 5), -3, (3, 1, 1)),
        ((2, 6, 3), -1, (2, 1, 3)),
        ((2, 3), -1, (2, 1)),  # one value a channel: the channels together
    ],
)
def test_normalization_shapes(shape, dim, expected):
    for post_relu in (True, False):
        assert [t.shape for t in Normalization(dim, post_relu)(torch.rand(shape))] == [expected] * 2


def test_moments_hold_the_normalized_values():
    x = torch.randn(2, 3, 6, 6)
    moments = Moments(3, UniversalSet().step)
    add_normalized(x, moments, Normalization(1, False))
    assert moments.count.sum(1).tolist() == [72] * 3
    assert moments.sum.sum(1) == pytest.approx([0] * 3, abs=1e-4)  # each channel's mean is taken away
    outermost = [np.flatnonzero(row)[[0, -1]] for row in moments.count]
    assert all(low == 0 or high == moments.count.shape[1] - 1 for low, high in outermost)


def test_statistics_of_single_values_are_of_their_own_image():
    x = torch.tensor([[1.0, 3.0, -2.0], [10.0, 20.0, 60.0]])
    together = Normalization(-1, False)(x)
    alone = Normalization(-1, False)(x[:1])
    assert all(torch.equal(t[:1], a) for t, a in zip(together, alone, strict=True))
    assert torch.allclose(alone[0], torch.full((1, 3), 2 / 3))


@pytest.mark.parametrize(
    ("shape", "block", "size"),
    [((32, 48), 16, (16, 16)), ((40, 7), 16, (20, 7)), ((23, 24), 16, (23, 12)), ((1, 100), 32, (1, 34))],
)
def test_blocks_are_as_equal_as_can_be(shape, block, size):
    assert block_size(torch.zeros(1, 1, *shape), block) == size


@pytest.mark.parametrize("post_relu", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 11, 14), (3, 11, 14)])
def test_every_block_is_normalized_by_its_own_range(shape, post_relu):
    x = torch.randn(shape).abs() if post_relu else torch.randn(shape)
    middle, scale = Normalization(-3, post_relu, block=5)(x)
    height, width = block_size(x, 5)
    assert (height, width) == (6, 5)
    filled = torch.nn.functional.pad(x, (0, 1, 0, 1), "replicate")  # to 12 x 15
    for top in range(0, 11, height):
        for left in range(0, 14, width):
            own = filled[..., top : top + height, left : left + width]
            inside = (..., slice(top, min(top + height, 11)), slice(left, min(left + width, 14)))
            low, high = own.amin((-2, -1), keepdim=True), own.amax((-2, -1), keepdim=True)
            for found, expected in ((middle, (low + high) / 2), (scale, (high - low) / 2)):
                part = found[inside]
                assert torch.allclose(part, expected.expand_as(part), atol=1e-6)


def test_a_flat_block_keeps_its_value():
    x = torch.full((1, 1, 8, 16), 3e38)
    x[..., 8:] = -0.7
    middle, scale = block_normalization(x, (8, 8))
    assert torch.equal(middle, torch.tensor([[[[3e38, -0.7]]]]))
    assert torch.equal(scale, torch.full((1, 1, 1, 2), EPS))
    assert torch.equal(SubsetQuantizer([[-1, 0, 0.5, 1]], 1 / 4, False, 2, 1, 8)(x), x)


def test_what_is_no_image_has_no_blocks():
    tokens = torch.randn(2, 40, 6)
    for plain, block in zip(
        Normalization(-1, False)(tokens), Normalization(-1, False, 4)(tokens), strict=True
    ):
        assert torch.equal(plain, block)


def test_compiled_and_reference_agree_on_blocks():
    x = torch.randn(2, 3, 37, 50)
    size = block_size(x, 8)
    levels = torch.from_numpy(POINTS).float()
    table = (nearest_codes(levels.double(), 4), levels)
    middle, scale = (spread(part, size, x) for part in block_normalization(x, size))
    expected = reference(x, middle, scale, *table, 1)
    for function in (nearest_points_in_blocks, reference_in_blocks):
        assert torch.equal(function(x, size, *table), expected)
        assert torch.equal(function(x[0], size, *table), expected[0])
    # Not a number in one block, and infinity in another, are alike too and reach no other block.
    x[0, 0, 3, 3], x[1, 2, 30, 1] = torch.nan, torch.inf
    found, wanted = (f(x, size, *table) for f in (nearest_points_in_blocks, reference_in_blocks))
    assert torch.equal(found.nan_to_num(7), wanted.nan_to_num(7))
    assert torch.equal(found[0, 0, 8:], expected[0, 0, 8:])
    assert found.isnan().sum() > 0


def test_moments_are_of_the_normalized_blocks():
    x, moments, expected = torch.randn(2, 3, 12, 12), Moments(3, 1 / 8), Moments(3, 1 / 8)
    add_normalized(x, moments, Normalization(1, False, 4))
    for top in range(0, 12, 4):
        for left in range(0, 12, 4):
            add_normalized(x[..., top : top + 4, left : left + 4], expected, Normalization(1, False, 4))
    assert np.array_equal(moments.count, expected.count)
    assert np.allclose(moments.sum, expected.sum)
    assert np.all(moments.count[:, [0, -1]] >= 9)  # each of 9 blocks reaches both ends


def test_blocks_of_signed_and_of_one_sided_data_are_normalized_alike():
    first, second = (NormalizedObserver(1, 1 / 8, block=4) for _ in range(2))
    first.update(torch.rand(1, 2, 8, 8))
    second.update(torch.randn(1, 2, 8, 8))
    assert first.post_relu
    count = first.moments.count + second.moments.count
    first.merge(second)
    first.finish()
    assert not first.post_relu
    assert np.array_equal(first.moments.count, count)


def test_gradient_passes_straight_through_blocks():
    x = torch.randn(1, 3, 9, 9, requires_grad=True)
    SubsetQuantizer(POINTS, 1 / 4, False, 2, 1, 4)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_a_calm_region_is_quantized_finer_beside_a_wild_one():
    x = torch.zeros(1, 1, 16, 32)
    x[..., :16] = 0.01 * torch.rand(16, 16)
    x[..., 16:] = torch.rand(16, 16)
    points = [[-1, -0.5, 0.25, 1]]
    whole, blocks = (SubsetQuantizer(points, 1 / 4, False, 2, 1, side)(x) for side in (0, 16))
    errors = [float((y - x)[..., :16].square().mean()) for y in (whole, blocks)]
    assert errors[1] < errors[0] / 4


def test_the_configuration_decides_and_is_kept(images, tiny_edsr, tmp_path):
    config = QuantConfig("dfsq-exact", normalization="block", block=4)
    blocks = quantize_model(tiny_edsr, images, config)
    assert not torch.equal(blocks(images), quantize_model(tiny_edsr, images, QuantConfig())(images))
    save_quantized(blocks, tmp_path / "a.safetensors")
    assert torch.equal(load_quantized(tmp_path / "a.safetensors")(images), blocks(images))
    assert str(config) == "dfsq-exact W4A4, block normalization, blocks of 4"
    calibration = calibrate(tiny_edsr, images, QuantConfig())
    with pytest.raises(ValueError, match=r"made for normalization 'image', .* not for .*'block' of 4 pixels"):
        quantize_model(tiny_edsr, calibration, config)


@pytest.mark.parametrize("block", [0, -1, 5000, 2.0, True, "16"])
def test_wrong_blocks(block):
    with pytest.raises(ValueError, match="block must be a side of 1 to 4,096 pixels"):
        QuantConfig(block=block)


def test_transformers_keep_their_tokens_together():
    model = SwinIR(2, n_feats=4, depths=(2,), n_heads=2, window=4, hidden=6).eval()
    x = torch.rand(1, 3, 8, 8)
    configs = (QuantConfig("dfsq-exact", normalization=name, block=4) for name in ("image", "block"))
    whole, blocks = (quantize_model(model, x, config)(x) for config in configs)
    assert torch.equal(whole, blocks)


def test_side_information_of_few_bits_by_hand():
    # Scales 1, 2, 4 and 7 of an image's channels; at 4 bits they lie on steps of 0.4 from 1, rounded up.
    x = torch.tensor([1.0, 2, 4, 7]).view(1, 4, 1, 1) * torch.tensor([0.0, 0.5, 1]).view(1, 1, 1, 3)
    _, scale = Normalization(1, True, side_bits=4)(x)
    assert torch.allclose(scale.flatten(), torch.tensor([1, 2.2, 4.2, 7]), atol=1e-6)
    # The ends of a channel's blocks, outwards over their range in the channel: -1 to 2 in steps of 0.2.
    x = torch.tensor([[-1.0, 0.1, 0.5, 2.0]]).view(1, 1, 1, 4)
    middle, scale = block_normalization(x, (1, 2), side_bits=4)
    low, high = middle - scale, middle + scale
    assert torch.allclose(low.flatten(), torch.tensor([-1.0, 0.5]), atol=1e-6)
    assert (high.flatten() >= torch.tensor([0.1, 2.0]) - 1e-6).all()


@pytest.mark.parametrize("side_bits", [4, 8, 16])
@pytest.mark.parametrize("block", [0, 8])
@pytest.mark.parametrize("post_relu", [False, True])
def test_less_side_information_never_costs_range(block, side_bits, post_relu):
    x = torch.rand(2, 5, 24, 20) - (0.0 if post_relu else 0.5)
    mean, scale = Normalization(1, post_relu, block, side_bits)(x)
    assert ((x - mean) / scale).abs().max() <= 1 + 1e-5
    exact = Normalization(1, post_relu, block)(x)
    width = (exact[1].max() - exact[1].min() + (exact[0].max() - exact[0].min())) / (2**side_bits - 1)
    assert (scale - exact[1]).abs().max() <= 2 * width + 1e-6


def test_the_bits_of_side_information_by_hand():
    x = torch.empty(1, 3, 16, 24, device="meta")
    assert Normalization(1, False).side_information(x) == 3 * 2 * 16
    assert Normalization(1, True).side_information(x) == 3 * 16
    assert Normalization(1, False, 8).side_information(x) == 3 * 6 * 2 * 16
    # With 8 bits the two ends between which a channel's lows, and highs, are rounded come to that.
    assert Normalization(1, False, 8, 8).side_information(x) == 3 * (6 * 2 * 8 + 2 * 32)
    assert Normalization(1, False, 0, 8).side_information(x) == 2 * (3 * 8 + 32)


@pytest.mark.parametrize("block", [0, 8])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_uniform_levels_of_normalized_values_by_plain_arithmetic(block, bits):
    x = torch.randn(2, 3, 19, 21)
    low, high = torch.tensor([-1.0, -0.7, -0.9]), torch.tensor([1.0, 0.8, 0.6])
    found = NormalizedUniformQuantizer(low, high, False, bits, 1, block)(x)
    mean, scale = Normalization(1, False, block)(x)
    values = ((x - mean) / scale).double()
    levels = torch.stack(
        [torch.linspace(a, b, 2**bits, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    )
    levels = levels[:, None, None, :]
    nearest = levels.expand(*x.shape[1:], -1).gather(
        -1, (values[0][..., None] - levels).abs().argmin(-1, keepdim=True)
    )[..., 0]
    expected = nearest * scale[0] + mean[0]
    step = ((high - low) / (2**bits - 1))[:, None, None] * scale[0]
    off = (found[0] - expected).abs()
    assert (off > 1e-5).float().mean() < 1e-3  # ties
    assert (off <= step * 1.001).all()
    assert torch.allclose(
        found.double(),
        NormalizedUniformQuantizer(low, high, False, bits, 1, block)(x.double()).float().double(),
        atol=1e-2,
    )


def test_constant_channels_stay_and_one_of_zeros_is_zero():
    x = torch.zeros(1, 3, 6, 6)
    x[:, 1], x[:, 2] = 0.25, torch.rand(6, 6)
    for post_relu in (False, True):
        y = SubsetQuantizer(POINTS, 1 / 4, post_relu, 2, 1)(x)
        assert torch.equal(y[:, 0], x[:, 0])
        assert torch.allclose(y[:, 1], x[:, 1])
