import numpy as np
import pytest
import torch
from hypothesis import given
from strategies import channels, grid_points

from core import UniversalSet
from core.quantizers.lookup import nearest_points, reference
from core.quantizers.normalized import nearest_codes


def look_up(function, x, points, steps, mean=0.0, scale=1.0, dim=1):
    """`function` on x, normalized by plain numbers or tensors; points (C or 1, k) on the grid 1/steps."""
    points = torch.as_tensor(np.array(points), dtype=torch.float64)
    shape = [1 if d not in (0, dim % x.ndim) else x.shape[d] for d in range(x.ndim)]
    mean = torch.as_tensor(mean, dtype=x.dtype).expand(shape)
    scale = torch.as_tensor(scale, dtype=x.dtype).expand(shape)
    return function(x, mean, scale, nearest_codes(points, steps), points.to(x.dtype), dim)


@pytest.mark.parametrize("function", [nearest_points, reference])
def test_nearest_by_hand_with_ties_to_the_lower(function):
    x = torch.tensor([[-1.0, -0.7, -0.5, -0.49, 0.0, 0.25, 0.26, 1.0]])[:, None]
    found = look_up(function, x, [[-1, 0, 0.5]], 2)
    assert found[0, 0].tolist() == [-1, -1, -1, 0, 0, 0, 0.5, 0.5]


@pytest.mark.parametrize("function", [nearest_points, reference])
def test_mean_and_scale_of_each_image_and_channel(function):
    x = torch.tensor([[[3.0, 5.0], [10.0, 20.0]], [[0.0, 1.0], [-7.0, -9.0]]])
    mean = torch.tensor([[[4.0], [15.0]], [[0.0], [-8.0]]])
    scale = torch.tensor([[[1.0], [10.0]], [[2.0], [4.0]]])
    # Normalized: -1, 1 | -0.5, 0.5 || 0, 0.5 | 0.25, -0.25; the second channel's points are 0 and 1.
    found = look_up(function, x, [[-1, 0], [0, 1]], 2, mean, scale)
    assert found.tolist() == [[[3, 4], [15, 15]], [[0, 0], [-8, -8]]]


@pytest.mark.parametrize("function", [nearest_points, reference])
@given(data=channels(max_channels=1), points=grid_points(8))
def test_equals_brute_force(function, data, points):
    x = torch.from_numpy(data).float()[:, None]
    distance = np.abs(x[0, 0].double().numpy()[:, None] - points)  # argmin takes the first: the lower
    expected = points[distance.argmin(1)]
    assert look_up(function, x, [points], 8)[0, 0].tolist() == expected.tolist()


def test_equals_brute_force_off_the_dyadic_grid():
    rng = np.random.default_rng(0)
    universal_set = UniversalSet(3, 4)
    points = np.sort(rng.choice(universal_set.points, 16, replace=False))
    x = rng.uniform(-1, 1, 5000).astype(np.float32)
    expected = points[np.abs(x.astype(np.float64)[:, None] - points).argmin(1)]
    found = look_up(nearest_points, torch.from_numpy(x)[None, None], [points], round(1 / universal_set.step))
    assert (found[0, 0].numpy() == expected.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("shape", "dim"), [((3, 4, 5, 6), 1), ((3, 5, 4), -1), ((6, 4), 1), ((4, 5, 6), 0), ((2, 3, 5, 4), 3)]
)
@pytest.mark.parametrize("rows", [1, 4])
def test_compiled_equals_reference(shape, dim, rows):
    rng = np.random.default_rng(1)
    points = np.sort(np.stack([rng.permutation(33)[:6] for _ in range(rows)]) / 16 - 1, axis=1)
    x = torch.randn(shape)
    wide = [shape[d] if d in (0, dim % len(shape)) else 1 for d in range(len(shape))]
    mean, scale = torch.randn(wide) * 0.1, torch.rand(wide) + 0.5
    results = [look_up(f, x, points, 16, mean, scale, dim) for f in (nearest_points, reference)]
    assert torch.equal(*results)


def test_memory_order_does_not_matter():
    x = torch.rand(2, 4, 5, 6)
    points = [[-1, 0, 0.25, 1]] * 4
    expected = look_up(nearest_points, x, points, 8)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(look_up(nearest_points, last, points, 8), expected)
    part = torch.cat([x, x], 3)[..., ::2]
    assert torch.equal(look_up(nearest_points, part, points, 8), torch.cat([expected, expected], 3)[..., ::2])


def test_values_beyond_the_range_go_to_the_outermost_points():
    x = torch.tensor([[[-40.0, 1e6, 1.0001, float("inf"), -float("inf"), float("nan")]]])
    found = [look_up(f, x, [[-0.5, 0.5]], 2)[0, 0].tolist() for f in (nearest_points, reference)]
    assert found[0] == found[1] == [-0.5, 0.5, 0.5, 0.5, -0.5, -0.5]


def test_256_points():
    points = np.arange(-128, 128) / 128
    x = torch.rand(1, 1, 1000) * 2 - 1
    found = look_up(nearest_points, x, [points], 128)
    expected = points[np.abs(x[0, 0].double().numpy()[:, None] - points).argmin(1)]
    assert (found[0, 0].double().numpy() == expected).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_dtype_follows_the_input(dtype):
    found = look_up(nearest_points, torch.tensor([[[0.3, 0.9]]], dtype=dtype), [[0, 0.25, 1]], 4)
    assert found.dtype == dtype
    assert found.tolist() == [[[0.25, 1]]]


def test_gradient_passes_straight_through():
    x = torch.rand(1, 2, 5, requires_grad=True)
    weights = torch.rand(1, 2, 5)
    (look_up(nearest_points, x, [[0, 1]], 1) * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def test_empty_input():
    assert look_up(nearest_points, torch.empty(0, 2, 5), [[0, 1]], 1).shape == (0, 2, 5)
