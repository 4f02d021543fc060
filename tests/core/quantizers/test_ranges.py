import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core import RANGES
from core.quantizers.histogram import BINS, Histogram
from core.quantizers.ranges import break_points, is_one_sided, range_of


def test_registry():
    assert list(RANGES) == ["minmax", "percentile", "mse", "2dquant"]


def test_by_hand():
    values = torch.arange(1001.0)[torch.randperm(1001)]
    assert range_of(values, "minmax") == (0, 1000)
    assert range_of(values, "percentile") == pytest.approx((1, 999))


def test_percentile_equals_sorting():
    values = torch.randn(4321)
    ordered, place = np.sort(values.double().numpy()), 0.001 * 4320
    low = ordered[4] + (place - 4) * (ordered[5] - ordered[4])
    assert range_of(values, "percentile")[0] == pytest.approx(low, rel=1e-5)
    assert range_of(-values, "percentile")[1] == pytest.approx(-low, rel=1e-5)


@pytest.mark.parametrize("name", RANGES)
def test_constant_and_single_values(name):
    assert range_of(torch.full((7,), 0.5), name) == (0.5, 0.5)
    assert range_of(torch.tensor([-3.0]), name) == (-3, -3)


def test_percentile_leaves_outliers_out():
    values = torch.cat([torch.rand(10_000), torch.tensor([1e6])])
    assert range_of(values, "percentile")[1] <= 1
    assert range_of(values, "minmax")[1] == 1e6


def squared_error(values, low, high, bits):
    levels = torch.linspace(low, high, 2**bits, dtype=torch.float64)
    return float((values.double()[:, None] - levels).abs().amin(1).square().sum())


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 3.0])
def test_mse_is_near_the_best_of_all_pairs_of_ends(bits, shift):
    values = torch.randn(300, generator=torch.Generator().manual_seed(bits)) ** 3 + shift
    ends = np.linspace(float(values.min()), float(values.max()), 60)
    best = min(squared_error(values, *pair, bits) for pair in itertools.combinations(ends, 2))
    assert squared_error(values, *range_of(values, "mse", bits), bits) <= 1.02 * best


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.sampled_from([2, 4, 8]))
def test_mse_is_never_above_minmax_nor_the_bound_search(values, bits):
    values = torch.tensor(values)
    errors = [
        squared_error(values, *range_of(values, name, bits), bits) for name in ("mse", "2dquant", "minmax")
    ]
    slack = 1e-9 + 1e-6 * errors[-1]
    assert errors[0] <= errors[1] + slack <= errors[2] + 2 * slack


def test_bound_search_shrinks_both_ends_alike_or_the_upper_alone():
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    low, high = range_of(values, "2dquant", 3)
    assert low - float(values.min()) == pytest.approx(float(values.max()) - high, rel=1e-5)
    assert high < values.max()
    low, high = range_of(values.abs(), "2dquant", 3)
    assert low == values.abs().min()
    assert high < values.abs().max()


@pytest.mark.parametrize("scales", [(1, 100), (100, 1), (0, 0, 3), (1e-3, 1, 7)])
def test_a_histogram_keeps_every_value_in_any_order_of_batches(scales):
    batches = [torch.randn(2, 500) * scale for scale in scales]
    histogram = Histogram(2)
    for batch in batches:
        histogram.update(batch)
    values, counts = histogram.values()
    everything = torch.cat(batches, 1).double()
    assert (counts.sum(1) == everything.shape[1]).all()
    assert (values * counts).sum(1) == pytest.approx(everything.sum(1).numpy(), rel=1e-5, abs=1e-6)
    assert histogram.limit < 2 * everything.abs().max()
    for row, own, number in zip(everything, values, counts, strict=True):
        quantile = np.repeat(own, number.astype(int))
        assert np.abs(np.sort(quantile) - row.sort().values.numpy()).max() <= 4 * histogram.limit / BINS


def test_one_sided_is_relu_softmax_or_gelu():
    low, high = np.array([0.0, -0.17, -0.17, -0.17, -3.0]), np.array([2.0, 4.0, 0.2, 0.0, 3.0])
    assert is_one_sided(low, high).tolist() == [True, True, False, False, False]


def test_bound_search_leaves_gelu_its_low_end():
    values = torch.nn.functional.gelu(torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 2)
    low, high = range_of(values, "2dquant", 2)
    assert low == pytest.approx(float(values.min()))
    assert high < float(values.max())


def test_weighted_percentiles_count_each_value_as_often_as_it_weighs():
    values = torch.randint(0, 9, (500,)).double()
    kinds, counts = values.unique(return_counts=True)
    found = RANGES["percentile"](kinds.numpy()[None], counts.numpy()[None].astype(float), 4)
    low, high = np.percentile(values.numpy(), (0.1, 99.9))
    assert (found[0][0], found[1][0]) == pytest.approx((low, high), abs=0.51)


def test_the_break_point_is_the_percentile_of_magnitudes():
    values = np.random.default_rng(0).standard_t(3, (2, 4001))
    expected = np.percentile(np.abs(values), 99, axis=1)
    assert break_points(values, np.ones_like(values)).tolist() == pytest.approx(expected.tolist())
