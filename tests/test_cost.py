import torch
from torch import nn

from core import QuantConfig, quantize_model
from core.cost import cost, model_bytes


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
    # 81 weights of 4 bits, 3 rows of 2 floats, 3 biases; 3 channels of 16 points, each 9 bits for one of 377.
    dfsq = quantize_model(model, images, QuantConfig("dfsq", 4, 4))
    assert model_bytes(dfsq) == 2 * 84 * 4 + (81 * 4 + 9 * 32 + 3 * 16 * 9 + 7) // 8
    minmax = quantize_model(model, images, QuantConfig("minmax", 4, 32))
    assert model_bytes(minmax) == 3 * 84 * 4 + 2 * 4
    # With the weights' points from the same set each row has a codebook of its own.
    subset = quantize_model(model, images, QuantConfig("dfsq", 4, 4, weights="subset"))
    assert model_bytes(subset) == model_bytes(dfsq) + 3 * 16 * 9 // 8
