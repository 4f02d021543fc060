import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import channels, grid_points

from core import Moments, UniversalSet


def brute_force_sse(data, points):
    return np.array([((row[:, None] - points) ** 2).min(1).sum() for row in data])


def test_cells_by_hand():
    # Step 1/2: half-grid cells of width 1/4, from -1; 1 falls in the last.
    moments = Moments(1, 0.5).update(np.array([[-1.0, -0.75, -0.7, 0.0, 0.24, 1.0]]), 0)
    assert moments.count.tolist() == [[1, 2, 0, 0, 2, 0, 0, 1]]
    assert moments.sum[0] == pytest.approx([-1, -1.45, 0, 0, 0.24, 0, 0, 1])
    assert moments.sum_sq[0] == pytest.approx([1, 0.75**2 + 0.7**2, 0, 0, 0.24**2, 0, 0, 1])
    assert moments.count.dtype == moments.sum.dtype == moments.sum_sq.dtype == np.float64


def test_sse_by_hand():
    moments = Moments(1, 0.5).update(np.array([[-0.8, 0.1, 0.6]]), channel_dim=0)
    # -0.8 -> -1, 0.1 -> 0, 0.6 -> 0
    assert moments.sse(np.array([-1.0, 0.0])) == pytest.approx([0.04 + 0.01 + 0.36])
    assert moments.sse(np.array([[0.5]])) == pytest.approx([1.69 + 0.16 + 0.01])


@given(channels(), grid_points(8))
def test_sse_equals_brute_force(data, points):
    moments = Moments(len(data), 1 / 8).update(data, channel_dim=0)
    assert moments.sse(points) == pytest.approx(brute_force_sse(data, points), abs=1e-10)


def test_sse_on_a_grid_that_is_not_dyadic():
    rng = np.random.default_rng(0)
    data, universal_set = rng.uniform(-1, 1, (2, 500)), UniversalSet(3, 4)
    points = np.sort(rng.choice(universal_set.points, (2, 6), replace=False), axis=1)
    expected = [brute_force_sse(data[c : c + 1], points[c])[0] for c in range(2)]
    assert Moments(2, universal_set.step).update(data, 0).sse(points) == pytest.approx(expected)


def test_sse_ignores_the_order_of_points():
    moments = Moments(1, 1 / 8).update(np.linspace(-1, 1, 50)[None], 0)
    assert moments.sse(np.array([0.5, -0.5, 0])) == moments.sse(np.array([-0.5, 0, 0.5]))


def test_more_points_never_raise_the_error():
    rng = np.random.default_rng(1)
    moments = Moments(1, 1 / 64).update(rng.normal(0, 0.3, (1, 400)).clip(-1, 1), 0)
    points = rng.permutation(np.arange(-64, 65)) / 64
    errors = [moments.sse(points[:k])[0] for k in range(1, len(points) + 1)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(errors))


@given(channels(max_channels=1, max_values=60), st.randoms(use_true_random=False))
def test_merge_is_independent_of_order(data, random):
    parts = np.array_split(data, min(4, data.shape[1]), axis=1)
    whole = Moments(1, 1 / 16).update(data, 0)
    random.shuffle(parts)
    merged = Moments(1, 1 / 16)
    for part in parts:
        merged.merge(Moments(1, 1 / 16).update(part, 0))
    assert (merged.count == whole.count).all()
    assert np.allclose(merged.sum, whole.sum, atol=1e-12)
    assert np.allclose(merged.sum_sq, whole.sum_sq, atol=1e-12)


def test_update_and_merge_return_self():
    moments = Moments(2, 0.25)
    assert moments.update(torch.zeros(1, 2, 3)) is moments
    assert moments.merge(Moments(2, 0.25)) is moments


@pytest.mark.parametrize(
    ("shape", "dim"), [((5, 4), 1), ((5, 4), -1), ((4, 5), 0), ((2, 4, 3, 5), 1), ((2, 3, 4), 2), ((4,), 0)]
)
def test_any_rank_and_channel_dim(shape, dim):
    x = torch.rand(shape) * 2 - 1
    moments = Moments(4, 1 / 8).update(x, dim)
    flat = x.movedim(dim, 0).reshape(4, -1).double().numpy()
    assert moments.count.sum(1) == pytest.approx([flat.shape[1]] * 4)
    assert moments.sum.sum(1) == pytest.approx(flat.sum(1))
    assert moments.sum_sq.sum(1) == pytest.approx((flat**2).sum(1))


def test_strided_and_integer_input():
    x = torch.rand(3, 4, 5)[:, ::2].transpose(1, 2)
    strided = Moments(2, 1 / 8).update(x, 2)
    assert np.allclose(strided.sum, Moments(2, 1 / 8).update(x.contiguous(), 2).sum)
    assert Moments(1, 1 / 8).update(np.array([[-1], [0], [1]])).count.sum() == 3


def test_no_values_change_nothing():
    assert Moments(2, 1 / 8).update(torch.empty(0, 2, 4)).count.sum() == 0


@pytest.mark.parametrize("bad", [1.0001, -1.5, np.inf, np.nan])
def test_values_outside_the_range(bad):
    moments = Moments(1, 1 / 8)
    with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]"):
        moments.update(np.array([[0.0, bad]]), 0)
    assert moments.count.sum() == 0


@pytest.mark.parametrize(("shape", "dim"), [((2, 3), 1), ((2, 3), 2), ((2, 3), -3), ((), 0)])
def test_wrong_shapes(shape, dim):
    with pytest.raises(ValueError, match="expected 4 channels at dim"):
        Moments(4, 1 / 8).update(np.zeros(shape), dim)


@pytest.mark.parametrize(("channels", "step"), [(0, 0.5), (1, 0.3), (1, 0), (1, -0.5), (1, 2)])
def test_wrong_sizes(channels, step):
    with pytest.raises(ValueError, match="must be"):
        Moments(channels, step)


def test_merge_refuses_another_grid_or_other_channels():
    for other in (Moments(1, 0.25), Moments(2, 0.5)):
        with pytest.raises(ValueError, match="cannot merge Moments"):
            Moments(1, 0.5).merge(other)


@pytest.mark.parametrize("points", [[0.3], [1.5], [-1.25], [np.nan], [0.5, np.inf]])
def test_points_off_the_grid(points):
    with pytest.raises(ValueError, match="points must"):
        Moments(1, 0.25).sse(np.array(points))


@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.zeros((2, 0)), np.zeros((1, 2, 1)), np.array(0.0)])
def test_points_of_a_wrong_shape(points):
    with pytest.raises(ValueError, match=r"points must be \(k,\) or \(2, k\)"):
        Moments(2, 0.25).sse(points)
