import numpy as np
import pytest
import torch

from core import Moments, QuantConfig, UniversalSet, select_points
from core.ptq.observers import (
    NormalizedObserver,
    PercentileObserver,
    SignObserver,
    StaticObserver,
    observer_of,
)
from core.quantizers.levels import apot_levels, log2_levels

STEP = UniversalSet().step


def test_static_ranges_by_hand():
    x = torch.tensor([[0.0, 1, 5], [-2, 0, 1]]).view(2, 1, 1, 3)
    observer = StaticObserver(1)
    observer.update(x[:1])
    assert observer.post_relu
    observer.update(x[1:])
    assert not observer.post_relu
    quantizer = observer.quantizer(QuantConfig("minmax", activation_bits=3))
    assert (quantizer.low, quantizer.high, quantizer.bits) == (-2, 5, 3)


def test_percentile_is_the_mean_over_images():
    x = torch.stack([torch.arange(1001.0), torch.arange(1001.0) * 3]).view(2, 1, 7, 143)
    observer = PercentileObserver(1, False)
    observer.update(x)
    quantizer = observer.quantizer(QuantConfig("percentile"))
    assert quantizer.low == pytest.approx(2)
    assert quantizer.high == pytest.approx(999 * 2)


def test_subset_sees_the_sign_late():
    # All moments must be of the two-sided normalization, also of batches before the first negative value.
    x = torch.rand(3, 2, 5, 5)
    x[2, 0, 0, 0] = -0.5
    observer, expected = NormalizedObserver(1, STEP), Moments(2, UniversalSet().step)
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
    observer = NormalizedObserver(1, STEP)
    observer.update(x)
    assert observer.post_relu
    expected = Moments(2, UniversalSet().step).update(x / x.amax((2, 3), keepdim=True))
    assert observer.moments.sum.sum(1) == pytest.approx(expected.sum.sum(1), rel=1e-6)


@pytest.mark.parametrize("selector", ["exact", "kmeans", "greedy"])
def test_points_are_those_of_the_selector_in_any_order_of_bits(selector):
    observer = NormalizedObserver(1, STEP)
    observer.update(torch.randn(2, 3, 9, 9))
    for bits in (4, 2, 6, 3):
        points = observer.points(QuantConfig("dfsq-exact", bits, selector=selector, seed=5))
        expected = select_points(observer.moments, UniversalSet().points, 2**bits, selector=selector, seed=5)
        assert (points == expected).all()


def test_more_bits_than_the_set_has_points():
    observer = NormalizedObserver(1, UniversalSet(1, 3).step)
    observer.update(torch.randn(1, 2, 4, 4))
    config = QuantConfig("dfsq-exact", 2, universal_set=UniversalSet(1, 3))
    assert observer.points(config).shape == (2, 4)
    object.__setattr__(config, "activation_bits", 3)  # which the configuration itself refuses
    with pytest.raises(ValueError, match="cannot choose 8 points out of 5 candidates"):
        observer.points(config)


def test_histogram_ranges_are_those_of_all_the_data():
    x = torch.randn(6, 3, 20, 20) * torch.tensor([1.0, 4.0, 0.1]).view(1, 3, 1, 1)
    for per_channel in (False, True):
        observer = StaticObserver(1)
        for image in x.split(1):
            observer.update(image)
        quantizer = observer.quantizer(
            QuantConfig("mse-channel" if per_channel else "mse", activation_bits=3)
        )
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
    observer = StaticObserver(1)
    observer.update(torch.rand(2, 3, 30, 30) ** 4)
    assert observer.post_relu
    quantizer = observer.quantizer(QuantConfig("2dquant", activation_bits=2))
    assert 0 <= quantizer.low < 1e-3
    assert 0.5 < quantizer.high < 1


@pytest.mark.parametrize(("name", "shape"), [("log2", log2_levels), ("apot", apot_levels)])
@pytest.mark.parametrize("signed", [False, True])
def test_scaled_levels_fit_the_data(name, shape, signed):
    x = torch.rand(2, 3, 30, 30) - (0.5 if signed else 0)
    observer = StaticObserver(1)
    for image in x.split(1):
        observer.update(image)
    quantizer = observer.quantizer(QuantConfig(name, activation_bits=3))
    assert quantizer.levels(0)[0] == (-quantizer.levels(0)[-1] if signed else 0)
    levels = torch.from_numpy(shape(3, signed)) * float(x.abs().max())
    plain = levels[(x.double()[..., None] - levels).abs().argmin(-1)]
    assert (quantizer(x) - x).square().mean() <= (plain - x).square().mean()


def test_the_sign_and_the_largest_magnitude_are_enough_where_nothing_is_calibrated():
    first, second = SignObserver(1), SignObserver(1)
    first.update(torch.rand(1, 2, 3, 3))
    assert first.post_relu
    second.update(-3 * torch.ones(1, 2, 3, 3))
    first.merge(second)
    assert not first.post_relu
    assert first.quantizer(QuantConfig("daq", side_bits=8)).deviation_bits == 8
    assert first.quantizer(QuantConfig("nvfp4")).largest == 3


def test_static_points_are_the_best_of_the_set_for_the_scaled_values():
    x = torch.randn(4, 2, 20, 20) * torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
    observer = StaticObserver(1)
    for image in x.split(1):
        observer.update(image)
    for normalization, rows in (("tensor", x.reshape(1, -1)), ("channel", x.movedim(1, 0).flatten(1))):
        config = QuantConfig("dfsq-exact", 3, normalization=normalization)
        quantizer = observer.quantizer(config)
        for i, row in enumerate(rows):
            mean = row.mean()
            scale = (row - mean).abs().max()
            best = select_points(((row - mean) / scale).double()[None], UniversalSet().points, 8)[0]
            expected = best * float(scale) + float(mean)
            found = quantizer.levels(i)
            errors = [((row[:, None] - torch.tensor(p)).abs().amin(1) ** 2).mean() for p in (found, expected)]
            assert errors[0] <= 1.01 * errors[1]  # known to a bin of the histogram


NORMALIZATIONS = ("tensor", "channel", "image", "block")


@pytest.mark.parametrize("levels", ["uniform", "subset", "log2", "apot"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_every_normalization_goes_with_every_kind_of_levels(normalization, levels):
    x = torch.randn(3, 4, 24, 24) * torch.tensor([0.1, 1.0, 2.0, 4.0]).view(1, 4, 1, 1) + 0.3
    errors = []
    for bits in (3, 6):
        config = QuantConfig("dfsq-exact", bits, normalization=normalization, levels=levels, ranges="mse")
        observer = observer_of(config, 1)
        observer.update(x)
        observer.finish()
        quantizer = observer.quantizer(config)
        y = quantizer(x)
        errors.append(float((y - x).square().mean()))
        assert quantizer.dynamic == (normalization in ("image", "block"))
        assert torch.allclose(quantizer(x.double()).float(), y, atol=1e-4)
        if normalization in ("tensor", "channel"):
            assert all(len(channel.unique()) <= 2**bits for channel in y.movedim(1, 0))
    # More powers of two are finer near 0 alone.
    assert errors[1] < (1.001 if levels == "log2" else 0.7) * errors[0]
    assert errors[1] < 0.2 * float(x.var())


@pytest.mark.parametrize("normalization", ["tensor", "channel"])
def test_piecewise_levels_keep_outliers_and_are_dense_where_the_values_are(normalization):
    x = torch.randn(2, 3, 40, 40)
    x[:, :, 0, 0] = 50.0
    errors = {}
    for method in ("piecewise", "minmax"):
        config = QuantConfig(method, 5, normalization=normalization)
        observer = observer_of(config, 1)
        observer.update(x)
        quantizer = observer.quantizer(config)
        errors[method] = float((quantizer(x) - x).square().mean())
    assert errors["piecewise"] < 0.1 * errors["minmax"]
    piecewise = observer_of(QuantConfig("piecewise", 5), 1)
    piecewise.update(x)
    quantizer = piecewise.quantizer(QuantConfig("piecewise", 5))
    assert quantizer(torch.full((1, 3, 1, 1), 50.0)).tolist() == [[[[50.0]]] * 3]
    assert quantizer.constants() == 3 * 16


@pytest.mark.parametrize("after_relu", [True, False])
@pytest.mark.parametrize(
    "method", ["dfsq-exact", "dfsq+block", "minmax", "mse-channel", "percentile", "log2", "daq", "mx"]
)
def test_statistics_as_arrays_give_the_same_quantizer(method, after_relu):
    config, x = QuantConfig(method), torch.randn(3, 4, 12, 10)
    seen, again = observer_of(config, -3), observer_of(config, -3)
    for part in x.split(1):
        seen.update(part.relu() if after_relu else part)
    seen.finish()
    again.restore(seen.arrays())
    assert again.post_relu == seen.post_relu == after_relu
    assert all(value.dtype != object for value in seen.arrays().values())
    assert torch.equal(again.quantizer(config)(x), seen.quantizer(config)(x))


def test_pooled_features_stay_single_as_arrays():
    config = QuantConfig("dfsq-exact")
    seen, again = observer_of(config, -3), observer_of(config, -3)
    seen.update(torch.rand(2, 5, 1, 1))
    seen.finish()
    again.restore(seen.arrays())
    assert np.array_equal(again.moments.count, seen.moments.count)
    with pytest.raises(KeyError):
        again.restore({"post_relu": np.asarray(True)})
