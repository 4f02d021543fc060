"""Ranges tuned by distillation: gradients by hand, the loss by hand, and whole small runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import Mixed
from torch import nn

from core import QuantConfig, audit, create_model, load_quantized, quantize_model, save_quantized
from core import tune_ranges as tune
from core.ptq.methods import METHODS
from core.qat.distillation import blocks, distillation_loss
from core.qat.fake_quantization import FakeQuantize
from core.qat.tuned_ranges import TunedActivation, TunedNetwork, TunedWeight, is_tunable
from core.quantizers.uniform import UniformQuantizer
from core.quantizers.weights import weight_rows

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference" / "2dquant.npz"
SMALL = {"batch": 2, "patch": 12}


def test_gradients_of_two_channels_by_hand():
    """Levels 0, 1, 2, 3 in the first channel and 0, 2, 4, 6 in the second."""
    x = torch.tensor([[[-1.0, 0.4, 2.7, 5.0], [1.5, 6.5, 3.5, -0.5]]]).requires_grad_()
    low = torch.zeros(2, 1, requires_grad=True)
    high = torch.tensor([[3.0], [6.0]], requires_grad=True)
    quantized = FakeQuantize.apply(x, low, high, 2)
    assert quantized.tolist() == [[[0, 0, 3, 3], [2, 6, 4, 0]]]
    quantized.sum().backward()
    assert x.grad.tolist() == [[[0, 1, 1, 0], [1, 0, 1, 0]]]
    # r/n - (v - l)/(u - l) of the values inside, and 1 for each value above (below for l).
    inside = [(0 - 0.4) / 3 + (3 - 2.7) / 3, (2 - 1.5) / 6 + (4 - 3.5) / 6]
    assert high.grad.flatten().tolist() == pytest.approx([1 + inside[0], 1 + inside[1]])
    assert low.grad.flatten().tolist() == pytest.approx([1 - inside[0], 1 - inside[1]])


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference vectors are not here")
@pytest.mark.parametrize("bits", [2, 4])
def test_gradients_are_those_of_the_authors_code(bits):
    vectors = np.load(REFERENCE)
    found = {key: torch.from_numpy(vectors[key]) for key in vectors.files if key.startswith("gradient.")}
    values, bounds, upstream = (_vector(found, name, bits) for name in ("values", "bounds", "upstream"))
    quantizer = UniformQuantizer(bounds[0], bounds[1], bits)
    tuned = TunedActivation(quantizer, relative=False)
    x = values.float().requires_grad_()
    tuned(x).backward(upstream.float())
    moves = torch.stack([tuned.ends.move_low.grad, tuned.ends.move_high.grad])
    torch.testing.assert_close(x.grad, _vector(found, "of_values", bits).float())
    torch.testing.assert_close(moves, _vector(found, "of_bounds", bits).float(), rtol=2e-5, atol=2e-5)


def _vector(found, name, bits):
    own = [key for key in found if key.split(".")[-1] == name and (f".b{bits}." in key or ".b" not in key)]
    assert len(own) == 1, (name, sorted(found))
    return found[own[0]]


def test_a_relative_move_is_in_widths():
    tuned = TunedActivation(UniformQuantizer([0.0, -10.0], [4.0, 10.0], 4), relative=True)
    with torch.no_grad():
        tuned.ends.move_low += 0.25
        tuned.ends.move_high -= 0.1
    low, high = tuned.ends()
    assert low.tolist() == [1, -5]
    assert high.tolist() == pytest.approx([3.6, 8])


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 2, groups=2)])
def test_every_row_of_weights_has_its_own_ends(layer):
    low, high = -torch.arange(1, 7) / 10.0, torch.arange(1, 7) / 10.0
    tuned = TunedWeight(low, high, 2, layer, relative=False)
    with torch.no_grad():
        quantized = nn.Parameter(tuned(layer.weight * 10))  # beyond all ends
    layer.weight = quantized
    assert weight_rows(layer).abs().amax(1).tolist() == pytest.approx(high.tolist())


def test_the_loss_by_hand():
    output, target = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[0.0, 4.0]]]])
    own = torch.tensor([[[[3.0, 4.0]]], [[[0.0, 2.0]]]])
    wanted = torch.tensor([[[[4.0, 3.0]]], [[[0.0, 9.0]]]])  # (0.6, 0.8) and (0.8, 0.6); the same direction
    apart = np.sqrt(0.04 + 0.04) / 2
    expected = 1.5 + 5 * (apart + 0) / 2
    assert distillation_loss(output, target, [own], [wanted]).item() == pytest.approx(expected)
    assert distillation_loss(output, target, [], []).item() == 1.5
    dead = torch.zeros(1, 1, 1, 2, requires_grad=True)
    distillation_loss(output, target, [dead], [wanted[:1]]).backward()
    assert torch.isfinite(dead.grad).all()


@pytest.mark.parametrize("channel_dim", [-3, -1])
def test_ptq4srs_loss_by_hand(channel_dim):
    """Mean squares over two channels: (3, 4) and (4, 3) in one sample, then maps of the same direction."""
    squares = torch.tensor([[[[1.0, 7.0]], [[5.0, 1.0]]], [[[0.0, 2.0]], [[0.0, 2.0]]]])
    other = torch.tensor([[[[7.0, 1.0]], [[1.0, 5.0]]], [[[0.0, 9.0]], [[0.0, 7.0]]]])
    own, wanted = (x.sqrt().movedim(1, channel_dim) for x in (squares, other))
    output = torch.zeros(2, 3, 1, 2)
    found = distillation_loss(output, output + 0.5, [own], [wanted], "ptq4sr", channel_dim)
    assert found.item() == pytest.approx(0.5 + 5 * (2 * 0.2**2) / 4)


def test_the_loss_is_a_choice(tiny_edsr):
    images = torch.rand(2, 3, 16, 16)
    quantized = quantize_model(tiny_edsr, images, QuantConfig("2dquant", 2, 2))
    ways = [tune(tiny_edsr, quantized, images, steps=4, loss=loss, **SMALL) for loss in ("2dquant", "ptq4sr")]
    assert not torch.equal(ways[0](images), ways[1](images))
    with pytest.raises(ValueError, match="no loss 'mse'; there are 2dquant, ptq4sr"):
        tune(tiny_edsr, quantized, images, steps=1, loss="mse", **SMALL)


def test_blocks_are_what_shares_out_the_layers(tiny_edsr):
    rows = audit(quantize_model(tiny_edsr, torch.rand(1, 3, 12, 12), QuantConfig("minmax")))
    layers = [row.name for row in rows if not row.reason]
    assert blocks(tiny_edsr, layers) == ["body.0", "body.1"]
    assert blocks(tiny_edsr, layers[:1]) == layers[:1]
    xlsr = create_model("xlsr", 3)
    assert blocks(xlsr, ["conv1", "Gblocks.0.conv0", "Gblocks.1.conv0"]) == ["conv1", "Gblocks"]
    listed = nn.Module()
    listed.parts = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])
    assert blocks(listed, ["parts.0", "parts.1"]) == ["parts.0", "parts.1"]


def distance(model, quantized, images):
    with torch.no_grad():
        return float((model(images) - quantized(images)).abs().mean())


@pytest.mark.parametrize("method", ["2dquant", "minmax", "mse", "mse-channel", "mse+", "percentile"])
def test_a_tuned_network_is_nearer_and_static_as_before(method, tmp_path):
    model = create_model("xlsr", 3)
    images = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    quantized = quantize_model(model, images, QuantConfig(method, 3, 3))
    before = distance(model, quantized, images)
    tuned = tune(model, quantized, images, steps=25, **SMALL)
    assert distance(model, quantized, images) == before  # the given one is as it was
    assert distance(model, tuned, images) < before
    assert [row[:3] for row in map(_plain, audit(tuned))] == [
        row[:3] for row in map(_plain, audit(quantized))
    ]
    assert audit(tuned).scope.endswith("; ranges tuned by distillation in 25 steps")
    save_quantized(tuned, tmp_path / "a.safetensors")
    loaded = load_quantized(tmp_path / "a.safetensors")
    assert torch.equal(loaded(images), tuned(images))
    assert audit(loaded) == audit(tuned)


def _plain(row):
    return row.name, (row.weight_bits, row.activation_bits), row.effective


def test_weights_are_on_the_levels_of_their_bits_by_layer():
    model = Mixed().eval()
    images = torch.rand(2, 3, 16, 16)
    layers = ["grouped", "point", "linear", "up"]
    own = (("grouped", 2, 4), ("linear", 32, 4), ("up", 3, 32))
    quantized = quantize_model(model, images, QuantConfig("mse", 3, 3, layer_bits=own), layers)
    tuned = tune(model, quantized, images, steps=5, **SMALL)
    for row in (row for row in audit(tuned) if not row.reason):
        assert not row.note
        weight = tuned.get_submodule(row.name).weight
        if row.weight_bits == 32:
            assert torch.equal(weight, model.get_submodule(row.name).weight)
    assert not torch.equal(tuned.grouped.weight, quantized.grouped.weight)


def test_refined_weights_keep_their_values(tiny_edsr, images):
    quantized = quantize_model(tiny_edsr, images, QuantConfig("mse+"))
    tuned = tune(tiny_edsr, quantized, images, steps=3, **SMALL)
    name = "body.0.body.0"
    assert torch.equal(tuned.get_submodule(name).weight, quantized.get_submodule(name).weight)
    own, before = (m.get_submodule(name).activation_quantizer for m in (tuned, quantized))
    assert own.high != before.high


def test_before_the_first_step_nothing_is_different(tiny_edsr, images):
    for method in ("2dquant", "mse", "minmax"):
        quantized = quantize_model(tiny_edsr, images, QuantConfig(method))
        frozen = TunedNetwork(tiny_edsr, quantized, relative=True).frozen("")
        torch.testing.assert_close(frozen(images), quantized(images))


class Stop(Exception):
    pass


def test_a_stopped_run_goes_on_and_ends_the_same(tiny_edsr, images, tmp_path):
    quantized = quantize_model(tiny_edsr, images, QuantConfig("2dquant"))
    expected, seen = [], []
    whole = tune(tiny_edsr, quantized, images, steps=6, report=lambda *found: expected.append(found), **SMALL)

    def stop(step, loss):
        if step == 3:
            raise Stop

    checkpoint = tmp_path / "tuning.ckpt"
    with pytest.raises(Stop):
        tune(tiny_edsr, quantized, images, steps=6, checkpoint=checkpoint, report=stop, **SMALL)
    taken = []
    resumed = tune(
        tiny_edsr, quantized, images, steps=6, checkpoint=checkpoint,
        progress=lambda what, share: taken.append(share), report=lambda *found: seen.append(found), **SMALL,
    )  # fmt: skip
    assert seen == expected
    assert taken == [4 / 6, 5 / 6, 1]
    assert torch.equal(resumed(images), whole(images))
    with pytest.raises(ValueError, match="is of a tuning with other settings or images; choose another"):
        tune(tiny_edsr, quantized, images, steps=6, seed=1, checkpoint=checkpoint, **SMALL)


def test_the_seed_decides(tiny_edsr, images):
    quantized = quantize_model(tiny_edsr, images, QuantConfig("2dquant"))
    one, again, other = (tune(tiny_edsr, quantized, images, steps=3, seed=s, **SMALL) for s in (0, 0, 1))
    assert torch.equal(one(images), again(images))
    assert not torch.equal(one(images), other(images))


def test_what_cannot_be_tuned(tiny_edsr, images):
    dynamic = quantize_model(tiny_edsr, images, QuantConfig("dfsq-exact"))
    with pytest.raises(
        ValueError, match=r"body.0.body.0 has a SubsetQuantizer; quantize with a static method"
    ):
        tune(tiny_edsr, dynamic, images, **SMALL)
    with pytest.raises(ValueError, match="tuning needs a float network and what quantize_model made of it"):
        tune(tiny_edsr, tiny_edsr, images, **SMALL)
    static = quantize_model(tiny_edsr, images, QuantConfig("2dquant"))
    with pytest.raises(ValueError, match="no LR image is at least 48 pixels on both sides"):
        tune(tiny_edsr, static, images)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_known_before_which_methods_are_tuned(method):
    model, images = create_model("xlsr", 3), torch.rand(2, 3, 24, 24)
    config = QuantConfig(method, 4, 4)
    quantized = quantize_model(model, images, config, ["conv1", "conv2"])
    if is_tunable(config):
        assert TunedNetwork(model, quantized, True).parameters()
    else:
        with pytest.raises(ValueError, match="tuning needs uniform levels between constant ends"):
            TunedNetwork(model, quantized, True)
