"""Methods against what their authors' own code gives: the reference files, where they are at hand.

The files hold numbers alone. Without them these tests are skipped; small cases worked out by hand from the
same formulas stand in the tests of each module.
"""

import numpy as np
import pytest
import torch
from reference import REFERENCE, close, close_but_for_ties, load
from torch import nn

from core import UniversalSet
from core.points._selection_kernels import KMEANS_ITERATIONS, KMEANS_TOLERANCE, lloyd
from core.points.moments import Moments
from core.points.selection import ExactSelection, prepare
from core.quantizers._range_kernels import bound_search
from core.quantizers.daq import GaussianQuantizer
from core.quantizers.levels import GAUSSIAN_STEPS, LevelQuantizer, apot_levels
from core.quantizers.lookup import nearest_levels
from core.quantizers.normalization import EPS, Normalization
from core.quantizers.normalized import SubsetQuantizer
from core.quantizers.ranges import is_one_sided
from core.quantizers.uniform import uniform
from core.quantizers.weights import WEIGHTS, nearest

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(),
    reason="the reference vectors (shared/reference beside the repository) are not here",
)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize(
    "case", ["random_3x3", "trained_3x3", "grouped_3x3", "pointwise_1x1", "special_rows"]
)
def test_dfsq_weights(case, bits):
    data = load("dfsq_weights.npz")
    weight, expected = torch.from_numpy(data[f"{case}.weight"]), data[f"{case}.b{bits}.quantized"]
    rows, expected = weight.flatten(1), expected.reshape(len(weight), -1)
    step = data[f"{case}.b{bits}.step"].reshape(-1, 1)
    levels = WEIGHTS["minmax"].levels(rows, bits, None)
    found = nearest(rows, levels).numpy()
    constant = np.isnan(expected).any(1)  # where the authors' code divides by 0 the row stays as it is
    assert np.array_equal(found[constant], rows.numpy()[constant])
    rest = ~constant
    with np.errstate(invalid="ignore", divide="ignore"):
        unrounded = rows.numpy() / step
    assert close_but_for_ties(found[rest], expected[rest], unrounded[rest], step[rest])
    zero_point = data[f"{case}.b{bits}.zero_point"].reshape(-1)[rest] - 2 ** (bits - 1)
    assert close(levels[:, 0].numpy()[rest], zero_point * step[rest, 0])


def test_dfsq_universal_set():
    assert np.array_equal(UniversalSet().points, load("dfsq_activations.npz")["universal_set"])


@pytest.mark.parametrize("kind", ["signed", "post_relu"])
def test_dfsq_normalization_and_mapping(kind):
    data = load("dfsq_activations.npz")
    x = torch.from_numpy(data[f"{kind}.x"])
    mean, scale = Normalization(1, kind == "post_relu")(x)
    assert close(mean[..., 0, 0], data["signed.mean"] if kind == "signed" else np.zeros((2, 4)))
    assert close(scale[..., 0, 0] - EPS, data[f"{kind}.max"])
    assert close((x - mean) / scale, data[f"{kind}.normalized"])
    for bits in (2, 3, 4):
        points = data[f"{kind}.b{bits}.points"]
        quantizer = SubsetQuantizer(points, UniversalSet().step, kind == "post_relu", bits, 1)
        assert close(quantizer(x), data[f"{kind}.b{bits}.output"])


def test_dfsq_nearest_point():
    data = load("dfsq_activations.npz")
    points, values = (
        np.sort(data["nearest.points"], 1),
        torch.from_numpy(data["nearest.values"]).float()[None],
    )
    one = torch.ones(1, len(points), 1)
    found = nearest_levels(values, 0 * one, one, torch.from_numpy(points).float(), 1)[0]
    known = ~data["nearest.is_tie"].astype(bool)
    assert close(found.numpy()[known], data["nearest.mapped"][known])


def test_dfsq_snap():
    data = load("dfsq_activations.npz")
    candidates = UniversalSet().points
    found = candidates[np.abs(data["snap.centres"][:, None] - candidates).argmin(1)]
    assert np.array_equal(found, data["snap.points"])


@pytest.mark.parametrize("case", ["lloyd_a", "lloyd_b", "lloyd_c", "lloyd_d"])
def test_dfsq_kmeans(case):
    data = load("dfsq_activations.npz")
    values = np.sort(data[f"{case}.values"].astype(np.float64))
    prefix = np.zeros((len(values) + 1, 2))
    prefix[1:, 0], prefix[1:, 1] = np.arange(1, len(values) + 1), np.cumsum(values)
    centres = data[f"{case}.start"].astype(np.float64)
    order = np.argsort(centres)
    centres = centres[order]
    pinned = int(np.flatnonzero(order == len(order) - 1)[0])  # the last, which is fixed at 0
    passes = lloyd(prefix, values, centres, pinned, KMEANS_ITERATIONS, KMEANS_TOLERANCE, np.empty(0))
    assert close(np.sort(centres), np.sort(data[f"{case}.centres"]))
    assert passes == int(data[f"{case}.assignments"])
    inertia = np.abs(values[:, None] - centres).min(1) ** 2
    assert close(inertia.sum(), data[f"{case}.inertia"], 1e-5)
    candidates = UniversalSet().points
    points = candidates[np.abs(centres[:, None] - candidates).argmin(1)]
    assert np.array_equal(np.sort(points), np.sort(data[f"{case}.points"]))
    assert close((np.abs(values[:, None] - points).min(1) ** 2).sum(), data[f"{case}.quant_loss"], 1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", ["signed", "post_relu"])
def test_the_exact_choice_is_never_worse_than_dfsq_s(kind, bits):
    data = load("dfsq_activations.npz")
    x = data[f"{kind}.normalized"].clip(-1, 1)
    moments = Moments(4, UniversalSet().step).update(x)
    best = ExactSelection(prepare(moments, UniversalSet().points, 2**bits), 2**bits).sse(2**bits)
    assert (best <= data[f"{kind}.b{bits}.quant_loss"] * (1 + 1e-6)).all()


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("kind", ["signed", "post_relu"])
def test_dfsq_whole_layer(kind, bits):
    data = load("dfsq_activations.npz")
    conv = nn.Conv2d(4, 6, 3, padding=1)
    with torch.no_grad():
        rows = torch.from_numpy(data["layer.weight"]).flatten(1)
        conv.weight.copy_(nearest(rows, WEIGHTS["minmax"].levels(rows, bits, None)).view(6, 4, 3, 3))
        conv.bias.copy_(torch.from_numpy(data["layer.bias"]))
        points = data[f"{kind}.b{bits}.points"]
        quantizer = SubsetQuantizer(points, UniversalSet().step, kind == "post_relu", bits, 1)
        found = conv(quantizer(torch.from_numpy(data[f"{kind}.x"])))
    assert close(found, data[f"layer.{kind}.b{bits}.output"], 3e-6)


def test_daq_steps():
    steps = load("daq_steps.json")
    assert list(GAUSSIAN_STEPS) == [steps["gaussian"][str(bits)] for bits in range(9)]


@pytest.mark.parametrize("deviation_bits", [16, 8, 4])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["signed", "post_relu"])
@pytest.mark.parametrize("compiled", [True, False])
def test_daq_activations(kind, bits, deviation_bits, compiled):
    data = load("daq.npz")
    x = torch.from_numpy(data[f"{kind}.x"])
    quantizer = GaussianQuantizer(bits, 1, deviation_bits)
    found = quantizer(x if compiled else x.double()).float()
    name = 32 if deviation_bits == 16 else deviation_bits
    expected = torch.from_numpy(data[f"{kind}.b{bits}.qq{name}.output"])
    post_relu = kind == "post_relu"
    mean, deviation = quantizer._statistics(x)
    plain = data[f"{kind}.sigma"] if deviation_bits == 16 else data[f"{kind}.qq{name}.sigma"]
    assert close(deviation[..., 0, 0], np.maximum(plain, 0), 2e-6)  # below 0 by accident of the code
    sound = torch.from_numpy((data[f"{kind}.sigma"] > 0) & (plain > 0))[..., None, None].expand_as(x)
    step = GAUSSIAN_STEPS[bits - 1] * deviation
    last = 2 ** (bits - 1) - 0.5
    unrounded = (x / step - last if post_relu else (x - mean) / step) + 0.5
    assert sound.any()
    assert close_but_for_ties(found[sound], expected[sound], unrounded[sound], step.expand_as(x)[sound])
    # A constant channel stays: its mean, or 0.
    still = torch.from_numpy(data[f"{kind}.sigma"] == 0)[..., None, None].expand_as(x)
    if deviation_bits == 16:
        assert torch.allclose(found[still], (0 * x if post_relu else mean.expand_as(x))[still], atol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("case", ["random_3x3", "trained_3x3", "pointwise_1x1"])
def test_daq_weights(case, bits):
    data = load("daq.npz")
    rows = torch.from_numpy(data[f"weights.{case}.weight"]).flatten(1)
    levels = WEIGHTS["daq"].levels(rows, bits, None)
    expected = data[f"weights.{case}.b{bits}.quantized"].reshape(rows.shape)
    step = float(levels[0, 1] - levels[0, 0])
    assert close_but_for_ties(nearest(rows, levels), expected, rows.numpy() / step + 0.5, step)


BOUNDS = ["gaussian", "long_tail", "gelu", "softmax", "relu", "uniform", "trained_weight"]


@pytest.mark.parametrize("side", ["two_sided", "one_sided"])
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("case", BOUNDS)
def test_2dquant_bounds(case, bits, side):
    values = load("2dquant.npz")[f"{case}.values"].astype(np.float64).reshape(1, -1)
    known = load("2dquant_bounds.json")[f"{case}.b{bits}.{side}"]
    tolerance = 1e-6 * np.abs(values).max()
    low, high = values.min(1), values.max(1)
    bound_search(0, 1, values, np.ones_like(values), 2**bits - 1, np.array([side == "one_sided"]), low, high)
    assert abs(low - known["low"]) <= tolerance
    assert abs(high - known["high"]) <= tolerance
    x = torch.from_numpy(values)
    found = uniform(x, torch.from_numpy(low), torch.from_numpy(high), bits)
    assert close((x - found).norm(), known["error"], 1e-6)


@pytest.mark.parametrize("case", BOUNDS)
def test_2dquant_is_one_sided_where_the_paper_has_it(case):
    values = load("2dquant.npz")[f"{case}.values"]
    one_sided = is_one_sided(values.min(keepdims=True), values.max(keepdims=True))[0]
    assert one_sided == (case in ("gelu", "softmax", "relu") or values.min() >= 0)


@pytest.mark.parametrize("bits", range(2, 7))
def test_apot_levels(bits):
    known = load("apot_levels.json")
    expected = known[f"magnitude_bits_{bits}"]
    assert close(apot_levels(bits, False), np.sort(expected))
    for more in (7, 8):
        assert close(apot_levels(more, False), np.sort(known[f"magnitude_bits_{more}_by_extension"]))


def test_apot_quantization():
    data = load("apot.npz")
    weight, x = torch.from_numpy(data["weight_normalized"]), torch.from_numpy(data["x"])
    for bits in range(2, 8):
        quantizer = LevelQuantizer(float(data["weight.alpha"]) * apot_levels(bits, True), bits)
        assert close(quantizer(weight), data[f"weight.b{bits}.quantized"])
    for bits in range(2, 7):
        quantizer = LevelQuantizer(float(data["x.alpha"]) * apot_levels(bits, False), bits)
        assert close(quantizer(x), data[f"x.b{bits}.quantized"])
