import numpy as np
import pytest
import torch

from core import Moments, QuantConfig, UniversalSet, select_points
from core.levels import apot_levels, log2_levels
from core.observers import (
    GaussianObserver,
    HistogramObserver,
    RangeObserver,
    ScaledLevelsObserver,
    SubsetObserver,
)


def test_static_ranges_by_hand():
    x = torch.tensor([[0.0, 1, 5], [-2, 0, 1]]).view(2, 1, 1, 3)
    observer = RangeObserver("minmax")
    observer.update(x[:1])
    assert observer.post_relu
    observer.update(x[1:])
    assert not observer.post_relu
    quantizer = observer.quantizer(QuantConfig("minmax", activation_bits=3))
    assert (quantizer.low, quantizer.high, quantizer.bits) == (-2, 5, 3)


def test_percentile_is_the_mean_over_images():
    x = torch.stack([torch.arange(1001.0), torch.arange(1001.0) * 3]).view(2, 1, 7, 143)
    observer = RangeObserver("percentile")
    observer.update(x)
    quantizer = observer.quantizer(QuantConfig("percentile"))
    assert quantizer.low == pytest.approx(2)
    assert quantizer.high == pytest.approx(999 * 2)


def test_subset_sees_the_sign_late():
    # All moments must be of the two-sided normalization, also of batches before the first negative value.
    x = torch.rand(3, 2, 5, 5)
    x[2, 0, 0, 0] = -0.5
    observer, expected = SubsetObserver(UniversalSet(), 1), Moments(2, UniversalSet().step)
    for image in x.split(1):
        observer.update(image)
        centred = image - image.mean((2, 3), keepdim=True)
        expected.update(centred / (centred.abs().amax((2, 3), keepdim=True) + 1e-8))
    assert not observer.post_relu
    assert observer.moments.count.sum() == expected.count.sum()
    assert observer.moments.sum_sq.sum(1) == pytest.approx(expected.sum_sq.sum(1), rel=1e-6)
    assert np.abs(observer.moments.count - expected.count).sum() <= 2  # a last digit may change the cell


def test_post_relu_moments():
    x = torch.rand(2, 2, 5, 5)
    observer = SubsetObserver(UniversalSet(), 1)
    observer.update(x)
    assert observer.post_relu
    expected = Moments(2, UniversalSet().step).update(x / x.amax((2, 3), keepdim=True))
    assert observer.moments.sum.sum(1) == pytest.approx(expected.sum.sum(1), rel=1e-6)


@pytest.mark.parametrize("selector", ["exact", "kmeans", "greedy"])
def test_points_are_those_of_the_selector_in_any_order_of_bits(selector):
    observer = SubsetObserver(UniversalSet(), 1)
    observer.update(torch.randn(2, 3, 9, 9))
    for bits in (4, 2, 6, 3):
        points = observer.points(bits, selector, seed=5)
        expected = select_points(observer.moments, UniversalSet().points, 2**bits, selector=selector, seed=5)
        assert (points == expected).all()


def test_more_bits_than_the_set_has_points():
    observer = SubsetObserver(UniversalSet(1, 3), 1)
    observer.update(torch.randn(1, 2, 4, 4))
    with pytest.raises(ValueError, match="cannot choose 8 points out of 5 candidates"):
        observer.points(3)


def test_histogram_ranges_are_those_of_all_the_data():
    x = torch.randn(6, 3, 20, 20) * torch.tensor([1.0, 4.0, 0.1]).view(1, 3, 1, 1)
    for per_channel in (False, True):
        observer = HistogramObserver(1, per_channel)
        for image in x.split(1):
            observer.update(image)
        quantizer = observer.quantizer(QuantConfig("mse", activation_bits=3))
        rows = x.movedim(1, 0).flatten(1) if per_channel else x.reshape(1, -1)
        assert quantizer.low.numel() == len(rows)
        mse = (quantizer(x) - x).square().mean().item()
        for shrink in (0.6, 0.8, 1.0):
            ends = [(row.min() * shrink, row.max() * shrink) for row in rows]
            other = torch.stack(
                [
                    (torch.clamp(row, lo, hi) - lo).div((hi - lo) / 7).round() * ((hi - lo) / 7) + lo - row
                    for row, (lo, hi) in zip(rows, ends, strict=True)
                ]
            )
            assert mse <= other.square().mean().item() * 1.001


def test_bound_search_keeps_the_low_end_of_one_sided_data():
    observer = HistogramObserver(1, joint=True)
    observer.update(torch.rand(2, 3, 30, 30) ** 4)
    assert observer.post_relu
    quantizer = observer.quantizer(QuantConfig("2dquant", activation_bits=2))
    assert 0 <= quantizer.low < 1e-3
    assert 0.5 < quantizer.high < 1


@pytest.mark.parametrize("shape", [log2_levels, apot_levels])
@pytest.mark.parametrize("signed", [False, True])
def test_scaled_levels_fit_the_data(shape, signed):
    x = torch.rand(2, 3, 30, 30) - (0.5 if signed else 0)
    observer = ScaledLevelsObserver(shape, 1)
    for image in x.split(1):
        observer.update(image)
    quantizer = observer.quantizer(QuantConfig("apot", activation_bits=3))
    assert quantizer.levels(0)[0] == (-quantizer.levels(0)[-1] if signed else 0)
    levels = torch.from_numpy(shape(3, signed)) * float(x.abs().max())
    plain = levels[(x.double()[..., None] - levels).abs().argmin(-1)]
    assert (quantizer(x) - x).square().mean() <= (plain - x).square().mean()


def test_gaussian_observer_learns_the_sign_alone():
    observer = GaussianObserver(1)
    observer.update(torch.rand(1, 2, 3, 3))
    assert observer.post_relu
    observer.update(-torch.rand(1, 2, 3, 3))
    assert not observer.post_relu
    assert observer.quantizer(QuantConfig("daq")).dynamic
