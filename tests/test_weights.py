import pytest
import torch
from torch import nn

from core import QuantConfig, UniversalSet
from core.weights import WEIGHTS, from_rows, nearest, weight_rows

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
    return nearest(rows, WEIGHTS[name](rows, bits, UniversalSet()))


def test_nearest_by_hand():
    levels = torch.tensor([[0.0, 1.0, 3.0], [-1.0, 0.0, 0.0]])
    rows = torch.tensor([[-5.0, 0.5, 0.6, 2.1, 9.0], [-0.6, -0.5, -0.4, 0.0, 7.0]])
    expected = torch.tensor([[0.0, 0, 1, 3, 3], [-1, -1, 0, 0, 0]])
    assert torch.equal(nearest(rows, levels), expected)


def test_minmax_by_hand():
    rows = torch.tensor([[0.0, 0.4, 3.0], [-2.0, 1.0, 0.9], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]])
    expected = torch.tensor([[0.0, 0, 3], [-2, 1, 1], [0.5, 0.5, 0.5], [0, 0, 0]])
    assert torch.allclose(rounded("minmax", rows, 2), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_minmax_gives_the_nearest_of_evenly_spaced_levels(bits):
    rows = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    quantized = rounded("minmax", rows, bits)
    for row, result in zip(rows, quantized, strict=True):
        levels = torch.linspace(float(row.min()), float(row.max()), 2**bits, dtype=torch.float64)
        closest = levels[(row.double()[:, None] - levels).abs().argmin(1)]
        assert torch.allclose(result.double(), closest, atol=1e-6)
    assert torch.allclose(rounded("minmax", quantized, bits), quantized, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_searched_levels_lower_the_error(bits):
    rows = torch.randn(6, 90, generator=torch.Generator().manual_seed(1)) ** 3
    errors = {name: (rounded(name, rows, bits) - rows).square().sum(1) for name in WEIGHTS}
    assert (errors["mse"] <= errors["2dquant"] * (1 + 1e-5)).all()
    assert (errors["2dquant"] <= errors["minmax"] * (1 + 1e-5)).all()
    assert errors["subset"].sum() < errors["mse"].sum()  # as many levels, but not evenly spaced


@pytest.mark.parametrize("name", WEIGHTS)
def test_levels_are_sorted_and_as_many_as_the_bits_allow(name):
    for rows in (torch.randn(4, 50), torch.zeros(2, 9), torch.full((1, 3), 0.25)):
        levels = WEIGHTS[name](rows, 3, UniversalSet())
        assert levels.shape == (len(rows), 8)
        assert (levels.diff(dim=1) >= 0).all()
    assert torch.equal(rounded(name, torch.zeros(2, 9), 4), torch.zeros(2, 9))


def test_few_bit_weights_of_dfsq_plus_are_points_of_its_set():
    rows = torch.randn(5, 60, dtype=torch.float64)
    config = QuantConfig("dfsq+", 4, 3)
    levels = WEIGHTS[config.weight_levels](rows, 3, config.candidates)
    mean = rows.mean(1, keepdim=True)
    points = (levels - mean) / (rows - mean).abs().amax(1, keepdim=True)
    away = (points[..., None] - torch.tensor(UniversalSet(doubled=True).points)).abs().amin(-1)
    assert away.max() < 1e-6


@pytest.mark.parametrize(
    ("config", "levels"),
    [
        (QuantConfig("dfsq+", 4, 6), "subset"),
        (QuantConfig("dfsq+", 4, 7), "mse"),
        (QuantConfig("dfsq+", 4, 32), "mse"),
        (QuantConfig("dfsq+", 2, 6, UniversalSet(2, 3)), "mse"),  # it has not as many points
        (QuantConfig("dfsq+", 4, 4, weights="minmax"), "minmax"),
        (QuantConfig("dfsq", 4, 4), "minmax"),
    ],
)
def test_which_levels_weights_have(config, levels):
    assert config.weight_levels == levels
