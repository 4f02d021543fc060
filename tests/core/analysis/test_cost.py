import pytest
import torch
from strangers import stranger
from torch import nn

from core import QuantConfig, quantize_model
from core.analysis.cost import cost, effective_activation_bits, layer_calls, model_bytes


def test_operations_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 3, 1)
    )
    per_pixel = [27 * 8, 36 * 8, 8 * 3]
    spent = cost(model, 10, 20)
    assert spent.macs == 200 * sum(per_pixel)
    assert spent.bitops == spent.macs * 32 * 32
    quantized = quantize_model(model, torch.rand(2, 3, 16, 16), QuantConfig("minmax", 6, 4))
    assert cost(quantized, 10, 20).macs == spent.macs
    assert cost(quantized, 10, 20).bitops == 200 * (1024 * (per_pixel[0] + per_pixel[2]) + 24 * per_pixel[1])


def test_a_transposed_conv_multiplies_its_input():
    model = nn.Sequential(nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1))
    assert cost(model, 48, 48).macs == 48 * 48 * 3 * 5 * 16


def test_bytes_by_hand(images):
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
    assert model_bytes(model) == 3 * 84 * 4
    # 81 weights of 4 bits, 3 rows of 2 numbers, 3 biases; 3 channels of 16 points, 9 bits for one of 377.
    dfsq = quantize_model(model, images, QuantConfig("dfsq-exact", 4, 4))
    assert model_bytes(dfsq) == 2 * 84 * 4 + (81 * 4 + 3 * 2 * 16 + 3 * 32 + 3 * 16 * 9 + 7) // 8
    minmax = quantize_model(model, images, QuantConfig("minmax", 4, 32))
    assert model_bytes(minmax) == 3 * 84 * 4 + 2 * 2
    # With the weights' points from the same set each row has a codebook of its own.
    subset = quantize_model(model, images, QuantConfig("dfsq-exact", 4, 4, weights="subset"))
    assert model_bytes(subset) == model_bytes(dfsq) + 3 * 16 * 9 // 8
    # MX: 9 taps of 3 input channels a row, each with a scale of 8 bits.
    assert model_bytes(quantize_model(model, images, QuantConfig("mx", 4, 4))) == (
        2 * 84 * 4 + (81 * 4 + 3 * 9 * 8 + 3 * 32 + 7) // 8
    )


def effective(model, images, config, size=(64, 80)):
    spent = cost(quantize_model(model, images, config), *size)
    return spent.weight_bits, spent.activation_bits


def test_effective_bits_by_hand(images):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 3, 1))
    values, weights = 64 * 80, 8 * 9
    row = 32 / weights  # two numbers of 16 bits
    assert cost(model, 64, 80).weight_bits == cost(model, 64, 80).activation_bits == 32
    assert effective(model, images, QuantConfig("minmax", 4, 3)) == pytest.approx(
        (3 + row, 4 + 32 / (8 * values))
    )
    # DFSQ: a mean and a maximum a channel (the input is signed), and 16 points of 9 bits.
    dfsq = 4 + (32 + 16 * 9) / values
    assert effective(model, images, QuantConfig("dfsq-exact", 4, 4)) == pytest.approx((4 + row, dfsq))
    # Blocks of 8x8: 32 bits for 64 values.
    block = QuantConfig("uniform+block", 4, 4, refine=())
    assert effective(model, images, block) == pytest.approx((4 + row, 4.5 + 32 / values))
    fewer = QuantConfig("uniform+block", 4, 4, refine=(), side_bits=8)
    assert effective(model, images, fewer)[1] == pytest.approx(4.25 + (32 + 64) / values)
    # MX and NVFP4 have blocks of 32 and 16 channels; here of 8, which is all there are.
    assert effective(model, images, QuantConfig("mx", 4, 4)) == pytest.approx((5, 5))
    nvfp4 = 5 + 32 / (6 * weights), 5 + 32 / (8 * values)
    assert effective(model, images, QuantConfig("nvfp4", 4, 4)) == pytest.approx(nvfp4)
    # DAQ: a mean and a deviation a channel; one deviation for all weights.
    daq = 4 + 16 / (6 * weights), 4 + 32 / values
    assert effective(model, images, QuantConfig("daq", 4, 4)) == pytest.approx(daq)


def test_formats_have_their_published_effective_bits(images):
    model = nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 3, 1))
    for method, bits, expected in (("mx", 4, 4.25), ("mx", 6, 6.25), ("mx", 8, 8.25), ("nvfp4", 4, 4.5)):
        found = effective(model, images, QuantConfig(method, bits, bits), (640, 640))
        assert found == pytest.approx((expected, expected), abs=0.01)


@pytest.mark.parametrize("name", ["Attention", "Tied", "Reparameterized", "WeightNorm", "Unshuffled"])
def test_a_quantized_network_calls_the_layers_of_the_float_one(name):
    model = stranger(name)
    calls = layer_calls(model)
    assert calls
    for method in ("dfsq-exact", "mse", "mx", "uniform+block"):
        quantized = quantize_model(model, torch.rand(2, 3, 24, 24), QuantConfig(method, 4, 4))
        spent = cost(quantized, 30, 50)
        assert effective_activation_bits(quantized, calls, 30, 50) == spent.activation_bits, method
    assert layer_calls(model) == calls, "no hook is left"
