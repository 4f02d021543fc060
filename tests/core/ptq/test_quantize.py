import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from networks import Twice, pairs
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from core import METHODS, QuantConfig, audit, calibrate, quantize_model
from core.analysis.cost import cost
from core.ptq.rounding import rounded_rows
from core.quantizers.weights import from_rows, weight_rows

DFSQ = QuantConfig()


def every_layer(name, module):
    return True


@pytest.mark.parametrize(("network", "method"), pairs(METHODS))
def test_eight_bits_are_near_float(network, method, images):
    model = network().eval()
    expected = model(images)
    errors = []
    few, many = {"mx": (4, 8), "nvfp4": (4, 4), "piecewise": (3, 8)}.get(method, (2, 8))
    for bits in (few, many):
        config = QuantConfig(method, activation_bits=bits, weight_bits=bits)
        sr = quantize_model(model, images, config, every_layer)(images)
        errors.append((sr - expected).square().mean())
    # Powers of two, and less so their sums, stay far apart near the largest value, however many there are.
    near = {"log2": 0.1, "apot": 0.02, "nvfp4": 0.1}.get(method, 1e-3)
    assert errors[1] < near * expected.var()
    assert errors[1] < errors[0] / (2 if method == "log2" else 5) or few == many


@pytest.mark.parametrize("method", METHODS)
def test_32_bits_are_float(method, images, tiny_edsr):
    config = QuantConfig(method, activation_bits=32, weight_bits=32)
    assert torch.equal(quantize_model(tiny_edsr, images, config)(images), tiny_edsr(images))


@pytest.mark.parametrize("method", METHODS)
def test_output_is_the_float_layers_on_quantized_input_and_weight(method, images):
    # By hand: one conv; its padding is real zeros after quantization, not a quantized zero.
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    config = QuantConfig(method, 4, 4, refine=())
    shifted = images + 1  # far from 0, so that a static range without 0 shows a wrong padding
    quantized = quantize_model(model, shifted, config, ["0"])
    seen = quantized[0].activation_quantizer(shifted)
    assert seen.min() > 0.5
    rows = rounded_rows(weight_rows(model[0]), model[0], config)[1]
    weight = from_rows(rows, model[0])
    padded = F.pad(seen, (1, 1, 1, 1))
    assert torch.allclose(quantized(shifted), F.conv2d(padded, weight, model[0].bias), atol=1e-5)


@pytest.mark.parametrize(("activation_bits", "weight_bits"), [(32, 2), (2, 32)])
def test_only_one_side_is_quantized(activation_bits, weight_bits, images, tiny_edsr):
    config = QuantConfig(activation_bits=activation_bits, weight_bits=weight_bits)
    quantized = quantize_model(tiny_edsr, images, config)
    before, after = tiny_edsr.body[0].body[0], quantized.body[0].body[0]
    assert torch.equal(before.weight, after.weight) == (weight_bits == 32)
    assert hasattr(after, "activation_quantizer") == (activation_bits == 2)
    assert torch.equal(before.bias, after.bias)


def test_weights_and_activations_take_at_most_the_levels(images, tiny_edsr):
    quantized = quantize_model(tiny_edsr, images, QuantConfig(activation_bits=2, weight_bits=3))
    conv = quantized.body[1].body[2]
    assert max(len(channel.unique()) for channel in conv.weight) <= 8
    x = conv.activation_quantizer(torch.rand(2, 6, 9, 9))
    assert max(len(channel.unique()) for image in x for channel in image) <= 4


def test_original_is_untouched(images, tiny_edsr):
    tiny_edsr.train()
    tiny_edsr.head.eval()
    modes = {name: module.training for name, module in tiny_edsr.named_modules()}
    state = copy.deepcopy(tiny_edsr.state_dict())
    quantized = quantize_model(tiny_edsr, images, DFSQ)
    assert {name: module.training for name, module in tiny_edsr.named_modules()} == modes
    assert all(torch.equal(state[k], v) for k, v in tiny_edsr.state_dict().items())
    assert not any(m._forward_pre_hooks or hasattr(m, "quantization") for m in tiny_edsr.modules())
    assert {name: quantized.get_submodule(name).training for name in modes} == modes
    assert not any(m.training for m in quantize_model(tiny_edsr.eval(), images, DFSQ).modules())


@pytest.mark.parametrize("method", METHODS)
def test_copies_give_the_same(method, images, tiny_edsr):
    quantized = quantize_model(tiny_edsr, images, QuantConfig(method))
    for other in (copy.deepcopy(quantized), pickle.loads(pickle.dumps(quantized))):
        assert torch.equal(other(images), quantized(images))
        assert audit(other) == audit(quantized)


@pytest.mark.parametrize(("network", "method"), pairs(METHODS))
def test_nothing_stays_behind_on_the_cpu(network, method, images):
    """Fake tensors compute nothing, but refuse those of another device as a GPU does."""
    quantized = quantize_model(network(), images, QuantConfig(method), layers=["head", "tail"])
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        assert quantized.to("meta")(images.to("meta")).device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_cuda_gives_the_same_picture(method, images, tiny_edsr):
    bits = 4 if method == "nvfp4" else 8
    on_cpu = quantize_model(tiny_edsr, images, QuantConfig(method, bits, bits))(images)
    on_cuda = quantize_model(tiny_edsr.cuda(), images, QuantConfig(method, bits, bits))(images.cuda()).cpu()
    assert F.mse_loss(on_cuda, on_cpu) < 1e-3 * on_cpu.var()


def test_post_relu_is_found_from_the_data(images, tiny_edsr):
    rows = {row.name: row for row in audit(quantize_model(tiny_edsr, images, DFSQ))}
    assert rows["body.0.body.2"].post_relu is True
    assert rows["body.1.body.0"].post_relu is False
    assert rows["head.0"].post_relu is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_images_and_dead_channels(method, value, tiny_edsr):
    tiny_edsr.body[0].body[0].weight.data[:2] = 0
    tiny_edsr.body[0].body[0].bias.data[:2] = torch.tensor([-1.0, 0.5])  # after ReLU all-zero and constant
    x = torch.full((1, 3, 8, 8), value)
    bits, tolerance = (4, 0.1) if method == "nvfp4" else (8, 0.01)
    sr = quantize_model(tiny_edsr, x, QuantConfig(method, bits, bits))(x)
    assert torch.allclose(sr, tiny_edsr(x), atol=tolerance)


def test_tied_weights_are_quantized_each_by_its_own_layer(images):
    model = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(2)))
    model[1].weight = model[0].weight
    quantized = quantize_model(model, images, DFSQ, ["0"])
    assert torch.equal(quantized[1].weight, model[1].weight)
    assert not torch.equal(quantized[0].weight, model[0].weight)


def test_quantized_already(images, tiny_edsr):
    quantized = quantize_model(tiny_edsr, images, DFSQ)
    for function in (quantize_model, calibrate):
        with pytest.raises(ValueError, match="quantized already"):
            function(quantized, images, DFSQ)


def test_weights_that_are_not_finite(images):
    model = Twice()
    model.tail.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="the weight of tail holds NaN"):
        quantize_model(model, images, DFSQ, ["tail"])
    model.head.bias.data[0] = torch.inf
    with pytest.raises(ValueError, match="the input of conv holds NaN or infinity"):
        quantize_model(model, images, DFSQ)


def test_exact_is_never_above_kmeans_on_the_bundled_network(edsr_x2, images):
    layers = ["body.0.body.0", "body.7.body.2"]
    calibration = calibrate(edsr_x2, images, DFSQ, layers)
    for name in layers:
        observer = calibration.observers[name]
        for bits in (2, 4, 6):
            configs = (QuantConfig("dfsq-exact", bits, selector=s) for s in ("exact", "kmeans"))
            exact, kmeans = (observer.moments.sse(observer.points(config)) for config in configs)
            assert (exact <= kmeans * (1 + 1e-9)).all()


def test_dfsq_plus_costs_as_much_as_dfsq(images, tiny_edsr):
    """One mean and maximum a channel and image, as many points, two numbers a row of weights."""
    found = [cost(quantize_model(tiny_edsr, images, QuantConfig(m)), 90, 90) for m in ("dfsq", "dfsq+")]
    assert found[0].activation_bits == found[1].activation_bits
    assert found[0].weight_bits == found[1].weight_bits
    assert found[0].bitops == found[1].bitops


def test_quantizing_nothing_warns(images, tiny_edsr):
    with pytest.warns(UserWarning, match="no layer is quantized"):
        quantize_model(tiny_edsr, images, DFSQ, [])
