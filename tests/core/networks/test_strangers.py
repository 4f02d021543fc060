"""What networks of other people go through: each result is that of the float network within what its bits
explain, or the network is refused in one sentence.
"""

import math
import re
import warnings

import pytest
import torch
from strangers import STRANGERS, stranger

import core
from core.analysis.cost import model_bytes
from core.images import round_8bit
from core.quantizers.weights import weight_rows

METHODS = ("minmax", "percentile", "mse", "dfsq")
WHOLE_PICTURE = {"Attention", "Distillation"}
MAY_REFUSE = {"Reparameterized"}  # to be quantized: it writes its weights anew at every forward


@pytest.fixture(scope="module")
def photos():
    lr = [round_8bit(core.make_lr(core.demo_image(name), 2)) for name in core.demo_names()[:3]]
    return core.calibration_patches(lr, 3, 48)


@pytest.fixture(params=STRANGERS)
def name(request):
    return request.param


def decibels(sr, reference):
    """How far apart pictures are, relative to the range of the reference."""
    away = (sr - reference).square().mean().sqrt() / (reference.max() - reference.min())
    return -20 * math.log10(max(float(away), 1e-9))


def quantized(name, photos, config):
    """The quantized network, or None for one that is refused in one sentence."""
    model = stranger(name)
    try:
        calibration = core.calibrate(model, photos, config)
        return core.quantize_model(model, calibration, config)
    except ValueError as error:
        if name not in MAY_REFUSE or "\n" in str(error):
            raise
        return None


def test_they_run(name, photos):
    model = stranger(name)
    sr = core.super_resolve(model, photos)
    assert sr.shape == (3, 3, 96, 96)
    assert not any(module.training for module in model.modules())
    training = stranger(name).train()
    assert torch.equal(core.super_resolve(training, photos), sr)
    odd = core.super_resolve(model, photos[..., :47, :45])
    assert odd.shape == (3, 3, 94, 90)
    if name not in WHOLE_PICTURE:
        assert torch.allclose(odd[..., :60, :60], sr[..., :60, :60], atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_quantized_within_what_bits_explain(name, method, photos):
    reference = core.super_resolve(stranger(name), photos)
    found = {}
    for bits in (4, 8):
        model = quantized(name, photos, core.QuantConfig(method, bits, bits))
        if model is None:
            return
        found[bits] = decibels(core.super_resolve(model, photos), reference)
        assert core.is_quantized(model)
    assert found[8] > 30
    assert 10 < found[4] < found[8] - 5  # what changes nothing is not quantized


def test_the_audit_says_what_runs(name, photos):
    bits, seen = 3, {}

    def count(at):
        def hook(module, args):
            seen[at] = max(seen.get(at, 0), args[0].unique().numel())

        return hook

    model = quantized(name, photos, core.QuantConfig("minmax", bits, bits))
    if model is None:
        return
    rows = [row for row in core.audit(model) if not row.reason]
    for row in rows:  # these hooks come behind the quantizers
        model.get_submodule(row.name).register_forward_pre_hook(count(row.name))
    core.super_resolve(model, photos[:1])
    assert seen.keys() == {row.name for row in rows} != set()
    for row in rows:
        assert seen[row.name] <= 2**bits, row.name
        of_rows = weight_rows(model.get_submodule(row.name))
        assert max(r.unique().numel() for r in of_rows) <= 2**bits, row.name


SCOPE = {
    "WeightNorm": {"body.0.0", "body.0.2", "body.1.0", "body.1.2", "tail"},
    "MeanShifts": {"body.0", "body.2", "tail.0.0"},
    "Luma": {"conv2", "conv3"},
    "TupleOutput": {"body"},
    "EvalBranch": {"body"},
}


@pytest.mark.parametrize("name", SCOPE)
def test_the_default_scope_is_all_but_the_first_and_last_learned_conv(name, photos):
    # WeightNorm's skip is called first.
    expected = SCOPE[name] - {"tail"} | {"head"} if name == "WeightNorm" else SCOPE[name]
    model = quantized(name, photos, core.QuantConfig("minmax", 4, 4))
    assert {row.name for row in core.audit(model) if not row.reason} == expected


@pytest.mark.parametrize("method", ["minmax", "dfsq+"])
def test_saved_and_loaded(name, method, photos, tmp_path):
    model = quantized(name, photos, core.QuantConfig(method, 4, 4))
    if model is None:
        return
    core.save_quantized(model, tmp_path / "saved.safetensors")
    loaded = core.load_quantized(tmp_path / "saved.safetensors", stranger(name))
    assert torch.equal(core.super_resolve(loaded, photos), core.super_resolve(model, photos))
    assert str(core.audit(loaded)) == str(core.audit(model))


def test_shared_weights_are_counted_once():
    model = stranger("Tied")
    assert model_bytes(model) == sum(4 * p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", ["float", "minmax"])
@pytest.mark.parametrize("tile", [21, 32])
def test_tiles(name, kind, tile, photos):
    lr = core.make_lr(core.demo_image(core.demo_names()[0]), 2)[..., 40:130, 60:161]
    config = core.QuantConfig("minmax", 8, 8)
    model = stranger(name) if kind == "float" else quantized(name, photos, config)
    if model is None:
        return
    whole = core.super_resolve(model, lr)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tiled = core.super_resolve(model, lr, tile)
    if name == "Distillation":  # a tile would see all of this image, so there are none
        assert torch.equal(tiled, whole)
    elif name in WHOLE_PICTURE:
        assert [w for w in said if "looks at the whole picture" in str(w.message)] != []
    else:
        assert not said
        # Next to a midpoint, float32's last digits decide between two levels.
        assert decibels(tiled, whole) > (100 if kind == "float" else 60)


def test_the_difference_of_tiles_is_said_as_it_is():
    lr = core.make_lr(core.demo_image(core.demo_names()[0]), 2)
    model = stranger("Distillation")
    with pytest.warns(UserWarning, match="looks at the whole picture") as said:
        tiled = core.super_resolve(model, lr, 64)
    measured = float(re.search(r"([\d.]+) dB from the whole", str(said[0].message))[1])
    assert abs(measured - decibels(tiled, core.super_resolve(model, lr))) < 6


def test_as_onnx(name, photos):
    model = stranger(name)
    graph = core.OnnxNetwork(core.export_onnx(model))
    expected = core.super_resolve(model, photos)
    assert torch.allclose(core.super_resolve(graph, photos), expected, atol=1e-4)


def test_as_int8(name, photos):
    model = stranger(name)
    proto = core.quantize_int8(model, photos)
    expected = core.super_resolve(model, photos)
    assert 25 < decibels(core.super_resolve(core.OnnxNetwork(proto), photos), expected) < 80
    assert [row for row in core.audit_onnx(proto) if row.weight_bits == 8] != []


def test_scored(name, photos):
    model, pairs = stranger(name), []
    for at, photo in enumerate(core.demo_names()[:2]):
        hr = core.demo_image(photo)[..., :96, :120]
        pairs.append(core.Pair(str(at), core.make_lr(hr, 2), hr))
    found = core.evaluate(model, pairs, 2)
    if name != "Luma":  # that is scored on the luma itself
        expected = [core.psnr_y(core.super_resolve(model, p.lr), p.hr, border=2) for p in pairs]
        assert [row["psnr"] for row in found.rows] == pytest.approx(expected)
    assert math.isfinite(found.ssim)
