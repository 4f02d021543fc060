"""Networks that are quantized statically already, in INT8 files: their weights and ranges as they are."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from int8 import every_conv, photographs, psnr
from onnx import numpy_helper
from torch import nn

import core
from core import audit_onnx, quantize_int8
from core.deploy import OnnxNetwork


class TwoReaders(nn.Module):
    """Two convolutions that read the same tensor, one with a channel without weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.c, self.d = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 12, 1)
        with torch.no_grad():
            self.c.weight[3], self.c.bias[3] = 0, 0.37

    def forward(self, x):
        y = self.a(x).relu()
        return F.pixel_shuffle(self.d(self.b(y) + self.c(y)), 2)


def stored(graph):
    """The weights of a file as its layers use them, and the ends of their inputs' ranges, by layer."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    made = {name: node for node in graph.graph.node for name in node.output}
    weights, ends = {}, {}
    for node in graph.graph.node:
        if node.op_type == "Conv":
            x, weight = ([constants.get(name) for name in made[i].input] for i in node.input[:2])
            codes, scale, zero = (part.astype(np.float64) for part in weight)
            shape = (-1, 1, 1, 1)
            weights[node.name] = (codes - zero.reshape(shape)) * scale.reshape(shape)
            ends[node.name] = tuple(float((code - float(x[2])) * x[1]) for code in (0, 255))
    return weights, ends


def test_a_static_network_of_8_bits_goes_into_the_file_as_it_is():
    model, images = TwoReaders().eval(), photographs()
    quantized = core.quantize_model(model, images, core.QuantConfig("minmax", 8, 8), every_conv)
    quantized.c.activation_quantizer.high *= 1.5  # as if it had been tuned
    quantized.d.activation_quantizer.low *= 0.5
    file = quantize_int8(quantized, images)
    assert [row.activation_bits for row in audit_onnx(file)] == [8] * 4
    weights, ends = stored(file)
    for name in "abcd":
        np.testing.assert_allclose(weights[name], getattr(quantized, name).weight.detach(), atol=1e-6)
    for name in "abcd":
        own = getattr(quantized, "c" if name == "b" else name).activation_quantizer  # the wider one
        step = float(own.high - own.low) / 255
        assert ends[name] == pytest.approx((float(own.low), float(own.high)), abs=step), name
    assert psnr(OnnxNetwork(file)(images), quantized(images)) > 40
    assert OnnxNetwork(file)(images).shape == (3, 3, 96, 96)


def test_a_channel_without_weights_keeps_its_bias():
    model, images = TwoReaders().eval(), photographs()
    quantized = core.quantize_model(model, images, core.QuantConfig("minmax", 8, 8), every_conv)
    with torch.no_grad():
        assert float(quantized.c(torch.rand(1, 8, 4, 4))[0, 3].mean()) == pytest.approx(0.37)
    weights, _ = stored(quantize_int8(quantized, images))
    assert not weights["c"][3].any()
    assert psnr(OnnxNetwork(quantize_int8(quantized, images))(images), quantized(images)) > 40


def test_weights_off_the_whole_steps_are_rounded_once_more():
    model, images = TwoReaders().eval(), photographs()
    quantized = core.quantize_model(model, images, core.QuantConfig("mse", 8, 8), every_conv)
    weights, _ = stored(quantize_int8(quantized, images))
    own = quantized.b.weight.detach().numpy()
    away, step = np.abs(weights["b"] - own).max((1, 2, 3)), np.abs(own).max((1, 2, 3)) / 127
    assert (away > 1e-6).any()
    assert (away <= 0.51 * step).all()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (core.QuantConfig("minmax", 4, 8), "a is quantized by minmax to W8A4"),
        (core.QuantConfig("dfsq-exact", 8, 8), "a is quantized by dfsq-exact to W8A8"),
        (core.QuantConfig("mse-channel", 8, 8), "b is quantized by mse-channel to W8A8"),
    ],
)
def test_what_no_int8_file_can_hold_is_refused(config, said):
    model, images = TwoReaders().eval(), photographs()
    layers = ["b"] if said.startswith("b") else every_conv
    with pytest.raises(ValueError, match=said):
        quantize_int8(core.quantize_model(model, images, config, layers), images)
