import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from core import QuantConfig, UniversalSet
from core.quantizers.weights import WEIGHTS, from_rows, nearest, weight_rows

LAYERS = [
    nn.Conv2d(4, 6, 3, groups=2),
    nn.ConvTranspose2d(4, 5, 3),
    nn.ConvTranspose2d(4, 6, (3, 2), groups=2),
    nn.Linear(7, 3),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_row_holds_all_that_one_output_channel_depends_on(layer):
    rows = weight_rows(layer)
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    assert rows.shape == (outputs, layer.weight.numel() // outputs)
    assert torch.equal(from_rows(rows, layer), layer.weight)
    x = torch.rand(1, 7) if isinstance(layer, nn.Linear) else torch.rand(1, 4, 6, 6)
    before = layer(x)
    rows = rows.clone()
    rows[1] *= 2
    weight = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.copy_(from_rows(rows, layer))
        changed = (layer(x) - before).abs().movedim(1, 0).flatten(1).amax(1) > 0
        layer.weight.copy_(weight)
    assert changed.nonzero().flatten().tolist() == [1]


def rounded(name, rows, bits):
    return nearest(rows, WEIGHTS[name].levels(rows, bits, UniversalSet()))


def test_nearest_by_hand():
    levels = torch.tensor([[0.0, 1.0, 3.0], [-1.0, 0.0, 0.0]])
    rows = torch.tensor([[-5.0, 0.5, 0.6, 2.1, 9.0], [-0.6, -0.5, -0.4, 0.0, 7.0]])
    expected = torch.tensor([[0.0, 0, 1, 3, 3], [-1, -1, 0, 0, 0]])
    assert torch.equal(nearest(rows, levels), expected)


def test_minmax_by_hand():
    # Steps 1, 1 and 2/3: levels 0 to 3; -2 to 1; and, from round(-1.5) = -2 on, -4/3 to 2/3.
    rows = torch.tensor([[0.0, 0.4, 3.0], [-2.0, 1.0, 0.9], [-1.0, 1.0, 0.2]])
    levels = WEIGHTS["minmax"].levels(rows, 2, UniversalSet())
    assert torch.allclose(levels, torch.tensor([[0.0, 1, 2, 3], [-2, -1, 0, 1], [-4 / 3, -2 / 3, 0, 2 / 3]]))
    expected = torch.tensor([[0.0, 0, 3], [-2, 1, 1], [-2 / 3, 2 / 3, 0]])
    assert torch.allclose(nearest(rows, levels)[:2], expected[:2])


def test_rows_that_are_special_under_minmax():
    # Constant rows stay as they are (the authors' code divides by 0); all positive ones need not have 0.
    rows = torch.tensor([[0.25, 0.25, 0.25], [0.0, 0.0, 0.0], [0.31, 0.4, 0.51], [-0.5, -0.4, -0.3]])
    assert torch.equal(rounded("minmax", rows, 4)[:2], rows[:2])
    levels = WEIGHTS["minmax"].levels(rows, 2, UniversalSet())
    step = 0.2 / 3
    assert levels[2].tolist() == pytest.approx(
        [(5 + i) * step for i in range(4)], rel=1e-5
    )  # 0.31 / step = 4.65
    assert (levels[2] > 0).all()
    assert (levels[3] < 0).all()


@given(st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=30), st.sampled_from([2, 3, 4, 8]))
def test_zero_is_a_level_of_minmax_wherever_a_row_has_both_signs(row, bits):
    rows = torch.tensor([[*row, -1.0, 1.5]])
    levels = WEIGHTS["minmax"].levels(rows, bits, UniversalSet())
    assert (levels == 0).any()
    step = (rows.max() - rows.min()) / (2**bits - 1)
    assert (nearest(rows, levels) - rows).abs().max() <= step * 1.001


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rules_by_the_tensor_have_one_set_of_levels(bits):
    rows = torch.randn(5, 60) * torch.tensor([1.0, 2, 3, 4, 5])[:, None]
    for name, rule in WEIGHTS.items():
        levels = rule.levels(rows, bits, UniversalSet())
        same = bool((levels == levels[0]).all())
        assert same == (not rule.by_row), name


def test_daq_and_symmetric_levels_by_hand():
    rows = torch.tensor([[-1.0, 1.0, -1.0, 1.0]])  # deviation sqrt(4/3), step 1.596 of it at 2 bits
    levels = WEIGHTS["daq"].levels(rows, 2, UniversalSet())
    step = 1.596 * (4 / 3) ** 0.5
    assert levels[0].tolist() == pytest.approx([-1.5 * step, -0.5 * step, 0.5 * step, 1.5 * step])
    levels = WEIGHTS["symmetric"].levels(torch.tensor([[0.3, -0.6]]), 3, UniversalSet())
    assert levels[0].tolist() == pytest.approx([-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6], abs=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_searched_levels_lower_the_error(bits):
    rows = torch.randn(6, 90, generator=torch.Generator().manual_seed(1)) ** 3
    errors = {name: (rounded(name, rows, bits) - rows).square().sum(1) for name in WEIGHTS}
    assert (errors["mse"] <= errors["minmax"] * 1.01).all()  # which has its ends off those of the row
    assert (errors["mse"] <= errors["2dquant"] * (1 + 1e-5)).all()
    assert errors["subset"].sum() < errors["mse"].sum()  # as many levels, but not evenly spaced


@pytest.mark.parametrize("name", WEIGHTS)
def test_levels_are_sorted_and_as_many_as_the_bits_allow(name):
    for rows in (torch.randn(4, 50), torch.zeros(2, 9), torch.full((1, 3), 0.25)):
        levels = WEIGHTS[name].levels(rows, 3, UniversalSet())
        assert levels.shape[0] == len(rows)
        assert levels.shape[1] <= 8
        assert (levels.diff(dim=1) >= 0).all()
    assert torch.equal(rounded(name, torch.zeros(2, 9), 4), torch.zeros(2, 9))


def test_weights_from_the_set_are_points_of_the_set_of_the_method():
    rows = torch.randn(5, 60, dtype=torch.float64)
    config = QuantConfig("dfsq+", 4, 3, weights="subset")
    levels = WEIGHTS["subset"].levels(rows, 3, config.candidates)
    mean = rows.mean(1, keepdim=True)
    points = (levels - mean) / (rows - mean).abs().amax(1, keepdim=True)
    away = (points[..., None] - torch.tensor(UniversalSet(doubled=True).points)).abs().amin(-1)
    assert away.max() < 1e-6


def test_side_information_by_hand():
    assert WEIGHTS["minmax"].side_bits(10, 4, 377) == 10 * 2 * 16
    assert WEIGHTS["2dquant"].side_bits(10, 4, 377) == 2 * 16
    assert WEIGHTS["subset"].side_bits(10, 4, 377) == 10 * (2 * 16 + 16 * 9)
