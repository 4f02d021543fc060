import copy
import pickle

import numpy as np
import pytest
import torch

from core import UniversalSet
from core.quantizers.levels import LevelQuantizer
from core.quantizers.normalized import SubsetQuantizer
from core.quantizers.uniform import UniformQuantizer, uniform


def subset(points, post_relu, step=1 / 8, channel_dim=1):
    return SubsetQuantizer(np.array(points, dtype=float), step, post_relu, 2, channel_dim)


def nearest_level(values, low, high, bits):
    levels = torch.linspace(low, high, 2**bits, dtype=torch.float64)
    return levels[(values.double().flatten()[:, None] - levels).abs().argmin(1)].view(values.shape)


def test_uniform_by_hand():
    # Levels -1, 0, 1, 2.
    x = torch.tensor([-5, -1, -0.6, -0.4, 0.4, 0.6, 1.9, 7.0])
    assert uniform(x, torch.tensor(-1.0), torch.tensor(2.0), 2).tolist() == [-1, -1, -1, 0, 0, 1, 2, 2]


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_uniform_equals_the_nearest_level(bits):
    x = torch.rand(20_000) * 4 - 2
    q = UniformQuantizer(-1.3, 0.9, bits)(x)
    assert torch.allclose(q.double(), nearest_level(x, -1.3, 0.9, bits), atol=1e-6)
    assert len(q.unique()) == 2**bits
    assert torch.allclose(UniformQuantizer(-1.3, 0.9, bits)(q), q, atol=1e-6)


def test_uniform_of_an_empty_range_is_its_value():
    assert UniformQuantizer(0.25, 0.25, 4)(torch.tensor([-1.0, 0.25, 9.0])).tolist() == [0.25] * 3


def test_uniform_gradient_is_one_inside_and_zero_outside():
    x = torch.tensor([-2.0, 0.3, 0.7, 2.0], requires_grad=True)
    UniformQuantizer(-1, 1, 3)(x).sum().backward()
    assert x.grad == pytest.approx(torch.tensor([0.0, 1, 1, 0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_uniform_dtype_follows_the_input(dtype):
    assert UniformQuantizer(-1, 2, 2)(torch.tensor([0.4], dtype=dtype)).dtype == dtype


def test_post_relu_subset_by_hand():
    # Normalized 0, 0.25, 1; 0.25 lies midway and goes to the lower point.
    x = torch.tensor([[[0.0, 1, 4]]])
    assert subset([[0, 0.5, 1, 1]], True)(x).tolist() == [[[0, 0, 4]]]


def test_signed_subset_by_hand():
    # Mean 2, normalized -0.75, -0.25, 1: both midway.
    x = torch.tensor([[[-1.0, 1, 6]]])
    assert subset([[-1, -0.5, 0, 1]], False)(x).tolist() == [[[-2, 0, 6]]]


def test_statistics_are_of_each_input():
    quantizer = subset([[0, 0.5, 1, 1]], True)
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(quantizer(x), torch.cat([quantizer(image[None]) for image in x]))
    assert not torch.equal(quantizer(x)[..., :2], quantizer(x[..., :2]))
    assert quantizer.dynamic


@pytest.mark.parametrize("post_relu", [True, False])
def test_zero_and_constant_channels_stay(post_relu):
    x = torch.zeros(2, 3, 4, 4)
    x[:, 1], x[:, 2] = 0.3, 700.0
    y = subset([[-1, 0, 0.5, 1]], post_relu)(x)
    assert torch.allclose(y, x, rtol=1e-6, atol=1e-7)


def test_subset_is_idempotent_where_the_maximum_is_a_point():
    x = torch.rand(2, 3, 8, 8)
    quantizer = subset([[0, 0.25, 0.5, 1], [0, 0.125, 0.875, 1], [-1, 0, 0.375, 1]], True)
    once = quantizer(x)
    assert torch.allclose(quantizer(once), once, atol=1e-6)
    assert all(len(once[i, c].unique()) <= 4 for i in range(2) for c in range(3))


def test_nan_is_not_hidden():
    x = torch.rand(1, 2, 3, 3)
    x[0, 1, 0, 0] = torch.nan
    y = subset([[0, 0.25, 0.5, 1]], True)(x)
    assert y[0, 1].isnan().all()
    assert y[0, 0].isfinite().all()


def test_subset_gradient_passes_straight_through():
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    subset([[-1, 0, 0.25, 1]], False)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("quantizer", [UniformQuantizer(-1, 1, 3), subset([[-1, 0, 0.25, 1]], False)])
def test_copies_give_the_same(quantizer):
    x = torch.randn(2, 3, 5, 5)
    for other in (copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer))):
        assert torch.equal(other(x), quantizer(x))
    assert "bits=" in repr(quantizer)


def test_loading_other_points_changes_the_look_up():
    points = UniversalSet().points
    one, two = (
        SubsetQuantizer(points[None, i::90][:, :4], UniversalSet().step, False, 2, 1) for i in (0, 40)
    )
    x = torch.linspace(-1, 1, 50).view(1, 1, 5, 10)
    assert not torch.equal(one(x), two(x))
    one.load_state_dict(two.state_dict())
    assert torch.equal(one(x), two(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_type_and_survives_zeros(dtype):
    quantizer = SubsetQuantizer(UniversalSet().points[None, ::30], UniversalSet().step, False, 4, 1)
    out = quantizer(torch.zeros(1, 2, 3, 3, dtype=dtype))
    assert out.dtype == dtype
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(
    ("shape", "dim"), [((2, 3, 7, 9), 1), ((3, 7, 9), -3), ((2, 5, 3), -1), ((4, 3), -1)]
)
@pytest.mark.parametrize("by_channel", [False, True])
def test_one_pass_equals_the_formula(shape, dim, by_channel):
    low = torch.tensor([-1.0, -0.5, 0.0]) if by_channel else torch.tensor(-0.8)
    high = torch.tensor([0.7, 0.5, 1.5]) if by_channel else torch.tensor(0.9)
    x = torch.randn(shape)
    quantizer = UniformQuantizer(low, high, 3, dim)
    with torch.no_grad():
        found = quantizer(x)
    expected = quantizer(x.clone().requires_grad_()).detach()
    assert torch.equal(found, expected)
    last = x.to(memory_format=torch.channels_last) if len(shape) == 4 else x
    assert torch.equal(quantizer(last), found)


@pytest.mark.parametrize("k", [3, 16, 60, 256])
def test_levels_of_each_channel_are_its_own(k):
    points = torch.randn(3, k).sort(1).values
    x = torch.randn(2, 3, 11, 13)
    found = LevelQuantizer(points, 8, 1)(x)
    for channel in range(3):
        own = x[:, channel]
        expected = points[channel][(own[..., None] - points[channel]).abs().argmin(-1)]
        assert torch.equal(found[:, channel], expected)
    assert LevelQuantizer(points[0], 8)(x.double()).dtype == torch.float64
    assert torch.equal(LevelQuantizer(points[0], 8)(x.double()).float(), LevelQuantizer(points[0], 8)(x))


def test_not_a_number_stays_so():
    x = torch.tensor([[[torch.nan, 0.2]]])
    for quantizer in (UniformQuantizer(-1, 1, 3), LevelQuantizer([-1.0, 0, 1], 2)):
        assert quantizer(x).isnan().tolist() == [[[True, False]]]
