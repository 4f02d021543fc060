"""Bits by layer, from the configuration to the file."""

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from core import METHODS, QuantConfig, audit, calibrate, load_quantized, quantize_model, save_quantized
from core.analysis.comparison import _simulated
from core.analysis.cost import cost, model_bytes

FIRST, SECOND, THIRD, FOURTH = (f"body.{block}.body.{conv}" for block in (0, 1) for conv in (0, 2))


def bits_of(model):
    return {row.name: (row.weight_bits, row.activation_bits) for row in audit(model) if not row.reason}


def test_the_same_bits_are_the_same_configuration():
    plain = QuantConfig("mse", 4, 6)
    assert QuantConfig("mse", 4, 6, layer_bits=((FIRST, 6, 4),)) == plain  # weights first
    one = QuantConfig("mse", layer_bits=(("b", 3, 4), ("a", 8, 4)))
    other = QuantConfig("mse", layer_bits=(("a", 8, 4), ("b", 3, 4), ("c", 4, 4)))
    assert one == other
    assert hash(one) == hash(other)
    assert one.for_layer("a") == QuantConfig("mse", 4, 8)
    assert one.for_layer("c") == QuantConfig("mse")


def test_the_label_tells_configurations_apart():
    two = QuantConfig("mse", layer_bits=(("b", 3, 4), ("a", 8, 5)))
    assert str(two) == "mse W4A4, a W8A5, b W3A4"
    many = QuantConfig("mse", layer_bits=tuple((f"conv{i}", 3 + i % 2, 5) for i in range(6)))
    assert str(many) == "mse W4A4, 6 layers W3–4A5"


@pytest.mark.parametrize(
    ("layer_bits", "message"),
    [
        ([("a", 4, 4)], r"layer_bits must be a tuple of \(layer's name, weight bits, activation bits\)"),
        ((("a", 4),), "layer_bits must be a tuple"),
        (((3, 4, 4),), "layer_bits must be a tuple"),
        ((("a", 4, 9),), "layer_bits of a: activation_bits must be 2 to 8, or 32 for float, got 9"),
        ((("a", True, 4),), "layer_bits of a: weight_bits must be 2 to 8"),
        ((("a", 3, 4), ("a", 5, 4)), "layer_bits has a twice; keep one of the two"),
    ],
)
def test_bits_that_cannot_be(layer_bits, message):
    with pytest.raises(ValueError, match=message):
        QuantConfig("mse", layer_bits=layer_bits)


def test_a_set_or_a_format_must_allow_the_bits_of_every_layer():
    with pytest.raises(ValueError, match="layer_bits of a: MX has elements of 4, 6, 8 bits"):
        QuantConfig("mx", layer_bits=(("a", 4, 5),))


def test_a_name_that_is_no_quantized_layer(images, tiny_edsr):
    wrong = QuantConfig("mse", layer_bits=(("body.9", 8, 8),))
    message = f"layer_bits has body.9, and no such layer is quantized; there are {FIRST}, {SECOND}"
    with pytest.raises(ValueError, match=message):
        quantize_model(tiny_edsr, images, wrong)
    with pytest.raises(ValueError, match=message):
        quantize_model(tiny_edsr, calibrate(tiny_edsr, images, QuantConfig("mse")), wrong)
    outside = QuantConfig("mse", layer_bits=(("head.0", 8, 8),))
    with pytest.raises(ValueError, match=r"layer_bits has head.0, which stays float \(outside the scope\)"):
        quantize_model(tiny_edsr, images, outside)


def test_a_layer_that_is_never_called_may_be_named(images):
    class Idle(nn.Sequential):
        def forward(self, x):
            return self[0](x)

    model = Idle(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)).eval()
    config = QuantConfig("minmax", layer_bits=(("1", 8, 8),))
    assert bits_of(quantize_model(model, images, config, ["0", "1"])) == {"0": (4, 4)}


@pytest.mark.parametrize("method", METHODS)
def test_every_layer_is_quantized_as_with_its_bits_alone(method, images, tiny_edsr):
    """Layers are calibrated on the float network, so that each is the same whatever bits the others have."""
    few = 4 if method == "nvfp4" else 8  # the only bits of that format
    own = ((FIRST, few, few), (SECOND, 32, few), (THIRD, few, 32), (FOURTH, 32, 32))
    config = QuantConfig(method, layer_bits=own)
    mixed = quantize_model(tiny_edsr, images, config)
    assert bits_of(mixed) == {FIRST: (few, few), SECOND: (32, few), THIRD: (few, 32)}
    for name in (FIRST, SECOND, THIRD):
        alone = quantize_model(tiny_edsr, images, config.for_layer(name)).get_submodule(name)
        own = mixed.get_submodule(name)
        assert torch.equal(own.weight, alone.weight)
        x = torch.rand(2, 6, 9, 9, generator=torch.Generator().manual_seed(2))
        assert torch.equal(own(x), alone(x))
    assert torch.equal(mixed.get_submodule(FOURTH).weight, tiny_edsr.get_submodule(FOURTH).weight)
    rows = {row.name: row.reason for row in audit(mixed)}
    assert rows[FOURTH] == "float by configuration (W32A32)"


@pytest.mark.parametrize("method", ["mse", "dfsq+", "mx"])
def test_a_file_keeps_the_bits_of_each_layer(method, images, tiny_edsr, tmp_path):
    config = QuantConfig(method, layer_bits=((FIRST, 8, 6), (SECOND, 32, 32)))
    quantized = quantize_model(tiny_edsr, images, config)
    save_quantized(quantized, tmp_path / "a.safetensors")
    loaded = load_quantized(tmp_path / "a.safetensors")
    assert loaded.quant_config == config
    assert audit(loaded) == audit(quantized)
    assert torch.equal(loaded(images), quantized(images))


def test_files_without_bits_by_layer_are_as_they_were(images, tiny_edsr, tmp_path):
    save_quantized(quantize_model(tiny_edsr, images, QuantConfig("mse")), tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        header = json.loads(file.metadata()["quantization"])
    assert "layer_bits" not in header["config"]


def test_the_names_in_a_file_are_those_of_the_network_inside(images, tiny_edsr, tmp_path):
    quantized = quantize_model(
        nn.DataParallel(tiny_edsr), images, QuantConfig("minmax", layer_bits=((f"module.{FIRST}", 8, 8),))
    )
    save_quantized(quantized, tmp_path / "a.safetensors")
    assert load_quantized(tmp_path / "a.safetensors").quant_config.layer_bits == ((FIRST, 8, 8),)


def test_cost_by_hand(images):
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4)))
    config = QuantConfig("minmax", 4, 4, layer_bits=(("1", 6, 3),))
    quantized = quantize_model(model, images, config)
    assert cost(quantized, 10, 20).bitops == 200 * 81 * (2 * 32 * 32 + 6 * 3 + 4 * 4)
    uniform = quantize_model(model, images, QuantConfig("minmax", 4, 4))
    # 81 weights of 2 bits more; before them the bits fill whole bytes.
    assert model_bytes(quantized) - model_bytes(uniform) == 21


def test_bits_that_no_kernel_has_are_named():
    assert _simulated(QuantConfig("mse", layer_bits=(("a", 4, 8), ("b", 4, 6), ("c", 4, 3)))) == "3, 6 bits"
    assert _simulated(QuantConfig("mse", layer_bits=(("a", 4, 8),))) == ""
