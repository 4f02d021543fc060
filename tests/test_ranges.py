import numpy as np
import pytest
import torch

from core import RANGES


def test_registry():
    assert list(RANGES) == ["minmax", "percentile"]


def test_by_hand():
    values = torch.arange(1001.0)[torch.randperm(1001)]
    assert RANGES["minmax"](values) == (0, 1000)
    assert RANGES["percentile"](values) == pytest.approx((1, 999))


def test_percentile_equals_sorting():
    values = torch.randn(4321)
    ordered, place = np.sort(values.double().numpy()), 0.001 * 4320
    low = ordered[4] + (place - 4) * (ordered[5] - ordered[4])
    assert RANGES["percentile"](values)[0] == pytest.approx(low, rel=1e-5)
    assert RANGES["percentile"](-values)[1] == pytest.approx(-low, rel=1e-5)


@pytest.mark.parametrize("name", RANGES)
def test_constant_and_single_values(name):
    assert RANGES[name](torch.full((7,), 0.5)) == (0.5, 0.5)
    assert RANGES[name](torch.tensor([-3.0])) == (-3, -3)


def test_percentile_leaves_outliers_out():
    values = torch.cat([torch.rand(10_000), torch.tensor([1e6])])
    assert RANGES["percentile"](values)[1] <= 1
    assert RANGES["minmax"](values)[1] == 1e6
