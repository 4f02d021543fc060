"""Networks as programs: exported, compiled, scripted."""

import warnings

import pytest
import torch
from networks import Small
from torch import nn

from core import (
    Pair,
    QuantConfig,
    calibrate,
    evaluate,
    export_onnx,
    quantize_int8,
    quantize_model,
    super_resolve,
)


def test_exported_networks():
    model, lr = Small().eval(), torch.rand(2, 3, 40, 20)
    dims = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    exported = torch.export.export(model, (lr,), dynamic_shapes=(dims,)).module()
    with pytest.raises(NotImplementedError):
        exported.eval()
    for tile in (None, 16):
        assert torch.allclose(super_resolve(exported, lr, tile), super_resolve(model, lr, tile), atol=1e-6)
    pairs = [Pair("a", lr[:1], torch.rand(1, 3, 80, 40))]
    assert evaluate(exported, pairs, 2).psnr == pytest.approx(evaluate(model, pairs, 2).psnr)
    wrapped = nn.Sequential(nn.Dropout(0.5), exported)
    assert torch.allclose(super_resolve(wrapped, lr), super_resolve(model, lr), atol=1e-6)
    assert wrapped[0].training
    fixed = torch.export.export(model, (lr,)).module()
    assert torch.allclose(super_resolve(fixed, lr), super_resolve(model, lr), atol=1e-6)
    with pytest.raises(ValueError, match=r"does not run on images of 30×40 pixels.*with dynamic_shapes$"):
        super_resolve(fixed, torch.rand(2, 3, 40, 30))


def fake_quantized(model, lr):
    """An exported graph whose convs take 8-bit inputs and weights, as PT2E and torchao prepare it."""
    sizes = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    graph = torch.export.export(model, (lr,), dynamic_shapes=(sizes,)).module()
    fake = torch.ops.aten.fake_quantize_per_tensor_affine.default
    for node in list(graph.graph.nodes):
        if node.target == torch.ops.aten.conv2d.default:
            with graph.graph.inserting_before(node):
                quantized = graph.graph.call_function(fake, (node.args[0], 4 / 255, 128, 0, 255))
            node.replace_input_with(node.args[0], quantized)
    graph.recompile()
    return graph


def test_exported_networks_with_quantizers_inside():
    model, lr = Small().eval(), torch.rand(2, 3, 40, 24)
    graph = fake_quantized(model, lr)
    with pytest.raises(NotImplementedError):
        graph.eval()
    whole, float_sr = super_resolve(graph, lr), super_resolve(model, lr)
    assert 1e-5 < (whole - float_sr).abs().max() < 0.02
    assert (super_resolve(graph, lr, tile=16) - whole).abs().max() < 0.01
    pairs = [Pair("a", lr[:1], float_sr[:1].clamp(0, 1))]
    assert 40 < evaluate(graph, pairs, 2).psnr < 80


@pytest.mark.parametrize("call", [super_resolve, calibrate, quantize_model, export_onnx, quantize_int8])
def test_what_is_no_network_is_refused(call):
    lr = torch.rand(1, 3, 16, 16)
    arguments = (lr, QuantConfig("minmax")) if call in (calibrate, quantize_model) else (lr,)
    program = torch.export.export(Small().eval(), (lr,))
    with pytest.raises(ValueError, match=r"no network yet; give its .module\(\)"):
        call(program, *arguments)
    with pytest.raises(ValueError, match=r"must be a torch.nn.Module, got dict; core.load_checkpoint"):
        call(dict(Small().state_dict()), *arguments)


def test_compiled_and_scripted_networks():
    model, lr = Small().eval(), torch.rand(1, 3, 40, 20)
    plain = nn.Sequential(model.head, model.a, model.b, model.tail, nn.PixelShuffle(2))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of TorchScript; files of it are there all the same
        traced = torch.jit.trace(plain.eval(), lr)
        frozen = torch.jit.freeze(traced)
    for other in (torch.compile(plain, backend="eager"), traced, frozen):
        for tile in (None, 16):
            assert torch.allclose(super_resolve(other, lr, tile), super_resolve(plain, lr), atol=1e-6)
