"""Products of two activations: q, k, v and the attention map of SwinIR, as 2DQuant quantizes them."""

import pytest
import torch

from core import (
    QuantConfig,
    audit,
    audit_onnx,
    load_quantized,
    quantize_int8,
    quantize_model,
    save_quantized,
    sensitivity,
    tune_ranges,
)  # fmt: skip
from core.analysis.cost import cost
from core.models import SwinIR
from core.networks.products import Operand, Product
from core.ptq.calibration import layer_inputs
from core.ptq.scope import choose_weighted
from core.qat.config import OdmConfig
from core.qat.training import QuantizedTraining
from core.training.patches import PatchSampler

ATTENTION = "layers.0.residual_group.blocks.0.attn"
OPERANDS = [f"{ATTENTION}.{product}.{side}" for product in ("scores", "mix") for side in ("left", "right")]
WINDOW, HEADS, WIDTH = 4, 2, 6


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SwinIR(2, n_feats=HEADS * WIDTH, depths=(1,), n_heads=HEADS, window=WINDOW, hidden=16).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_a_product_by_hand():
    left, right = torch.rand(3, 4, 5), torch.rand(3, 5, 6)
    torch.testing.assert_close(Product(5, 6)(left, right), left @ right)
    transposed = Product(5, 5, transposed=True)
    torch.testing.assert_close(transposed(left, right.mT), left @ right)


def test_attention_is_that_of_torch(model, images):
    attention, x = model.get_submodule(ATTENTION), torch.rand(5, WINDOW**2, HEADS * WIDTH)
    q, k, v = attention.qkv(x).unflatten(-1, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4)
    bias = attention.relative_position_bias_table[attention.relative_position_index].permute(2, 0, 1)
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
    torch.testing.assert_close(attention(x, None), attention.proj(y.transpose(1, 2).flatten(2)))


def test_all_four_are_quantized_and_read_again(model, images, tmp_path):
    quantized = quantize_model(model, images, QuantConfig("2dquant", 3, 3))
    rows = {row.name: row for row in audit(quantized)}
    for name in OPERANDS:
        assert (rows[name].activation_bits, rows[name].reason) == (3, "")
        quantizer = quantized.get_submodule(name).activation_quantizer
        assert len(quantizer(torch.linspace(-50, 50, 10_001)).unique()) == 8
    assert " A3 " in str(audit(quantized))
    assert [rows[name].post_relu for name in OPERANDS] == [False, False, True, False]
    before = quantized.get_submodule(OPERANDS[2]).activation_quantizer
    seen = layer_inputs(model, OPERANDS[2], images)
    assert float(before.low) == pytest.approx(float(seen.min()), abs=1e-4), "one-sided, as the map is"
    assert float(before.high) < float(seen.max())
    save_quantized(quantized, tmp_path / "swinir.safetensors")
    loaded = load_quantized(tmp_path / "swinir.safetensors", model)
    assert torch.equal(loaded(images), quantized(images))
    assert audit(loaded) == audit(quantized)
    tuned = tune_ranges(model, quantized, images, steps=3, batch=1, patch=8)
    after = tuned.get_submodule(OPERANDS[2]).activation_quantizer
    assert float(after.high) != float(before.high)


@pytest.mark.parametrize("method", ["dfsq-exact", "mse+", "daq", "mx"])
def test_any_method_takes_them(model, images, method):
    quantized = quantize_model(model, images, QuantConfig(method))
    assert {row.name for row in audit(quantized) if not row.reason} >= set(OPERANDS)
    assert torch.isfinite(quantized(images)).all()


def test_their_cost_by_hand(model, images):
    """Two products of 16 x 16 pairs of pixels and 6 numbers, for 2 heads in each of 3 x 4 windows."""
    products = 2 * WINDOW**4 * WIDTH * HEADS * (3 * 4)
    plain = SwinIR(2, n_feats=HEADS * WIDTH, depths=(0,), n_heads=HEADS, window=WINDOW, hidden=16).eval()
    linear = (HEADS * WIDTH) * (4 * HEADS * WIDTH + 2 * 16)
    assert cost(model, 12, 16).macs - cost(plain, 12, 16).macs == products + 12 * 16 * linear
    half = [cost(quantize_model(model, images, QuantConfig("minmax", a, 8)), 12, 16) for a in (4, 8)]
    saved = half[1].bitops - half[0].bitops
    # Activations have 4 bits less everywhere; in the products, on both sides.
    assert saved == 12 * 16 * linear * 8 * (8 - 4) + products * (8 * 8 - 4 * 4)


def test_activations_alone_matter_for_sensitivity(model, images):
    found = sensitivity(model, quantize_model(model, images, QuantConfig("minmax", 2, 2)), [images[:1]])[1]
    assert all(found[name].weights == 0 for name in OPERANDS)
    assert all(found[name].only == found[name].activations for name in OPERANDS)
    assert any(found[name].activations > 0 for name in OPERANDS)


def test_what_has_no_weights_is_left_out_where_these_are_needed(model, images):
    names, reasons = choose_weighted(model, None, images[:1])
    assert not set(OPERANDS) & set(names)
    assert {reasons[name] for name in OPERANDS} == {"it has no weights"}
    file = {row.name for row in audit_onnx(quantize_int8(model, images))}
    assert f"{ATTENTION}.qkv" in file
    assert not set(OPERANDS) & file
    sampler = PatchSampler([torch.rand(1, 3, 32, 32)], 2, 8)
    assert not set(OPERANDS) & set(QuantizedTraining(model, sampler, OdmConfig(bits=4)).layers)


def test_operands_alone(model, images):
    config = QuantConfig("minmax", 2, 32)
    quantized = quantize_model(model, images, config, lambda name, module: isinstance(module, Operand))
    assert [row.name for row in audit(quantized) if not row.reason] == OPERANDS
    assert not torch.equal(quantized(images), model(images))
