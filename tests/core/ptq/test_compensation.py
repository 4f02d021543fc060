import itertools

import numpy as np
import pytest
import torch
from torch import nn

from core import QuantConfig, UniversalSet, quantize_model
from core.ptq.compensation import DAMPING, InputMoments, columns, compensate, output_count
from core.quantizers.weights import WEIGHTS, nearest, weight_rows

LAYERS = [
    nn.Conv2d(4, 6, 3, padding=1),
    nn.Conv2d(4, 6, (3, 2), stride=(2, 1), groups=2, dilation=(1, 2), bias=False),
    nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"),
    nn.Conv2d(4, 5, 3, padding="same"),
    nn.Conv2d(4, 8, 1),
    nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    nn.ConvTranspose2d(4, 3, (2, 3), dilation=2),
    nn.Linear(4, 7),
]


def outputs(layer, x):
    """The layer's output as (out_channels, outputs)."""
    y = layer(x)
    return (y if isinstance(layer, nn.Linear) else y.movedim(1, -1)).flatten(0, -2).T


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_columns_weighted_by_the_rows_are_the_output(layer):
    x = torch.randn(2, 7, 4) if isinstance(layer, nn.Linear) else torch.randn(2, 4, 9, 8)
    cols = columns(layer, x)
    rows = weight_rows(layer).unflatten(0, (len(cols), -1))
    got = (rows @ cols).flatten(0, 1)
    if layer.bias is not None:
        got = got + layer.bias[:, None]
    assert torch.allclose(got, outputs(layer, x), atol=1e-5)
    one = x if isinstance(layer, nn.Linear) else x[:1]
    every = columns(layer, one)
    assert every.shape[2] == output_count(layer, one)
    some = torch.tensor([5, 0, 3])
    assert torch.equal(columns(layer, one, some), every[:, :, some])


def test_moments_by_hand():
    layer, moments = nn.Linear(2, 1), InputMoments(seed=0)
    x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, -1.0]])
    moments.update(layer, x[:2], x[:2] + 1)
    moments.update(layer, x[2:], x[2:] + 1)
    assert moments.count == 3
    mean, quantized_mean = moments.means
    assert mean.tolist() == [[2, 1]]
    assert quantized_mean.tolist() == [[3, 2]]
    own, cross = moments.covariances()
    expected = np.cov(x.T.numpy(), bias=True)
    damping = DAMPING * np.trace(expected) / 2
    assert own[0].numpy() == pytest.approx(expected + damping * np.eye(2))
    assert cross[0].numpy() == pytest.approx(expected + damping * np.eye(2))


def test_the_variance_of_an_input_that_hardly_varies_is_not_lost():
    layer, moments = nn.Linear(4, 1), InputMoments(seed=0)
    x = 5 + 1e-3 * torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    for part in x.split(200):
        moments.update(layer, part, part)
    own = moments.covariances()[0][0].numpy()
    expected = np.cov(x.T.double().numpy(), bias=True)
    damping = DAMPING * np.trace(expected) / 4
    assert own == pytest.approx(expected + damping * np.eye(4), abs=1e-9)
    assert moments.means[0][0].numpy() == pytest.approx(x.double().mean(0).numpy(), abs=1e-6)


def noisy(layer, bits, refine, seed=0, **options):
    """The layer compensated for a coarse input, and its error on that input before and after."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(4, 4, generator=generator)
    shape = (200, 4) if isinstance(layer, nn.Linear) else (3, 4, 24, 24)
    x = torch.randn(shape, generator=generator)
    x = x @ mix if isinstance(layer, nn.Linear) else torch.einsum("nchw,cd->ndhw", x, mix)
    coarse = (x * 1.5).round() / 1.5 + 0.1
    moments = InputMoments(0)
    moments.update(layer, x, coarse)
    expected, rows = outputs(layer, x), weight_rows(layer).clone()
    config = QuantConfig("dfsq+", 4, bits, refine=refine, **options)
    levels = compensate(layer, rows, moments, config)
    return (outputs(layer, coarse) - expected).square().mean(), levels, outputs(layer, coarse), expected


def fresh(seed=1):
    torch.manual_seed(seed)
    return nn.Conv2d(4, 6, 3, padding=1)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@torch.no_grad()
def test_each_refinement_lowers_the_error_of_the_output(bits):
    plain, bias, both = (noisy(fresh(), bits, refine)[0] for refine in ((), ("bias",), ("rounding", "bias")))
    assert both < bias < plain


@torch.no_grad()
def test_bias_makes_the_mean_of_the_output_right():
    for layer in (fresh(), nn.Conv2d(4, 3, 1, bias=False), nn.ConvTranspose2d(4, 3, 2, groups=1)):
        _, _, got, expected = noisy(layer, 3, ("bias",))
        spread = expected.std(1)
        assert ((got.mean(1) - expected.mean(1)).abs() < 0.1 * spread).all()  # moments are of drawn pixels


@pytest.mark.parametrize("name", WEIGHTS)
@torch.no_grad()
def test_compensated_weights_stay_on_their_levels(name):
    layer = fresh()
    _, levels, *_ = noisy(layer, 3, ("rounding", "bias"), weights=name)
    assert levels.shape == (6, 7 if name in ("symmetric", "apot") else 8)  # one code of these means 0 twice
    rows = weight_rows(layer)
    assert torch.allclose(nearest(rows.double(), levels), rows.double(), atol=1e-6)


@torch.no_grad()
def test_rounding_is_near_the_best_of_all_assignments():
    torch.manual_seed(2)
    rows, mix = torch.randn(3, 5), torch.randn(40, 5) @ torch.randn(5, 5)
    layer = nn.Linear(5, 3)
    layer.weight.copy_(rows)
    moments = InputMoments(0)
    moments.update(layer, mix, mix)
    levels = compensate(layer, rows, moments, QuantConfig("dfsq+", 4, 2, refine=("rounding",)))
    own = moments.covariances()[0][0]

    def error(rounded, row):
        difference = rounded - row.double()
        return float(difference @ own @ difference)

    for row, own_levels, got in zip(rows, levels, layer.weight, strict=True):
        choices = (torch.stack(choice) for choice in itertools.product(own_levels, repeat=5))
        best = min(error(choice, row) for choice in choices)
        plain = error(nearest(row.double()[None], own_levels[None])[0], row)
        assert error(got.double(), row) <= best + 0.2 * max(plain - best, 0) + 1e-6


def test_weights_of_32_bits_only_make_up_for_the_input():
    with torch.no_grad():
        plain = noisy(fresh(), 32, ())[0]
        error, levels, *_ = noisy(fresh(), 32, ("rounding", "bias"))
    assert levels is None
    assert error < plain


def test_a_layer_without_bias_gets_one(images):
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(3)))
    quantized = quantize_model(model, images, QuantConfig("dfsq+", 3, 3))
    assert quantized[1].bias is not None
    assert quantized[0].bias is None
    assert model[1].bias is None


@torch.no_grad()
def test_dfsq_plus_is_nearer_to_float_than_dfsq(images, tiny_edsr):
    expected = tiny_edsr(images)
    for bits in (2, 4):
        errors = [
            (quantize_model(tiny_edsr, images, QuantConfig(method, bits, bits))(images) - expected)
            .square()
            .mean()
            for method in ("dfsq+", "dfsq")
        ]
        assert errors[0] < 0.8 * errors[1]


def test_the_universal_set_serves_weights_too():
    rows = torch.randn(4, 60)
    few, many = (WEIGHTS["subset"].levels(rows, 3, UniversalSet(*size)) for size in ((2, 3), (4, 4)))
    assert ((nearest(rows, many) - rows).square().sum(1) <= (nearest(rows, few) - rows).square().sum(1)).all()


@pytest.mark.parametrize("bits", [3, 32])
def test_layers_that_share_weight_and_bias_are_refined_each_for_itself(bits, images):
    def network(tied):
        torch.manual_seed(4)
        model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4)))
        model[2].weight.data, model[2].bias.data = model[1].weight.data.clone(), model[1].bias.data.clone()
        if tied:
            model[2].weight, model[2].bias = model[1].weight, model[1].bias
        return model

    config = QuantConfig("dfsq+", 3, bits)
    tied, apart = (quantize_model(network(t), images, config)(images) for t in (True, False))
    assert torch.equal(tied, apart)
