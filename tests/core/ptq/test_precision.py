"""Types, memory formats and modes of the caller or the network, and traced networks."""

import copy

import pytest
import torch
from other_networks import Plain, run

from core.ptq.audit import audit
from core.ptq.config import QuantConfig
from core.ptq.methods import METHODS
from core.ptq.quantize import quantize_model

MINMAX = QuantConfig("minmax", 4, 4)


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(0))


def test_autocast_inference_mode_and_the_default_type_change_nothing(images):
    torch.manual_seed(0)
    model, config = Plain().eval(), QuantConfig("dfsq+", 4, 4)
    want = run(quantize_model(model, images, config), images)
    with torch.autocast("cpu", torch.bfloat16):
        quantized = quantize_model(model, images, config)
    assert torch.equal(run(quantized, images), want)
    with torch.inference_mode():
        quantized = quantize_model(model, images, config)
    quantized(images).mean().backward()  # no inference tensor is left in it
    assert torch.equal(run(quantized, images), want)


@pytest.mark.parametrize("method", METHODS)
def test_the_default_type_changes_nothing(method, images):
    torch.manual_seed(0)
    model, config = Plain().eval(), QuantConfig(method, 4, 4)
    want = run(quantize_model(model, images, config), images)
    torch.set_default_dtype(torch.float64)
    try:
        got = run(quantize_model(model, images, config), images)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(got, want)


@pytest.mark.filterwarnings("ignore")  # of the tracer, about sizes that become constants
@pytest.mark.parametrize("method", METHODS)
def test_traced(method, images):
    torch.manual_seed(0)
    quantized = quantize_model(Plain().eval(), images, QuantConfig(method, 6 if method == "mx" else 4, 4))
    with torch.no_grad():
        traced = torch.jit.trace(quantized, images[2:], check_trace=False)
        want, got = quantized(images[:1]), traced(images[:1])
    assert (got - want).square().mean() < 1e-3 * want.var()  # some values round to the next level


def test_channels_last_is_calibrated_as_any_other(images):
    torch.manual_seed(0)
    model = Plain().eval()
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    for method in ("dfsq+", "minmax"):
        want, got = (
            quantize_model(m, x, QuantConfig(method, 4, 4))
            for m, x in ((model, images), (last, images.to(memory_format=torch.channels_last)))
        )
        assert torch.equal(run(got, images), run(want, images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_type_and_levels(dtype, images):
    torch.manual_seed(0)
    quantized = quantize_model(Plain().to(dtype).eval(), images, QuantConfig("dfsq+", 4, 3))
    assert {p.dtype for p in quantized.parameters()} == {dtype}
    assert quantized(images.to(dtype)).dtype == dtype
    for row in quantized.a.weight.flatten(1):
        assert len(row.unique()) <= 8
    assert [row.weight_bits for row in audit(quantized) if not row.reason] == [3, 3]
