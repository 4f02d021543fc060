"""Weights that the network or training changes after they were quantized."""

import copy

import pytest
import torch
from other_networks import Plain, Rewritten, quantized_names, run
from torch import nn

from core.analysis.cost import cost
from core.analysis.evaluation import super_resolve
from core.analysis.sensitivity import sensitivity
from core.networks.held_weights import hold
from core.ptq.audit import audit
from core.ptq.config import QuantConfig
from core.ptq.quantize import quantize_model
from core.ptq.saving import load_quantized, save_quantized

MINMAX = QuantConfig("minmax", 4, 4)


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("write", [Rewritten.replace, Rewritten.fill])
@pytest.mark.parametrize("method", ["minmax", "dfsq+"])
def test_rewritten_weights_keep_their_levels(write, method, images, tmp_path):
    torch.manual_seed(0)
    model = Rewritten(write).eval()
    model.a.weight.data.zero_()  # not what its first forward makes of it
    quantized = quantize_model(model, images, QuantConfig(method, 32, 2))
    twice = [run(quantized, images), run(quantized, images)]
    assert torch.equal(*twice)
    assert "a" in quantized_names(quantized)
    weight = quantized.a.weight
    assert all(2 <= len(row.unique()) <= 4 for row in weight.flatten(1))
    assert torch.equal(super_resolve(copy.deepcopy(quantized), images), twice[0])
    reference = copy.deepcopy(quantized)  # the same by hand: nothing is written, and the layer is plain
    reference.write = lambda *_: None
    assert torch.equal(run(reference, images), twice[0])
    save_quantized(quantized, tmp_path / "q.safetensors")
    assert torch.equal(run(load_quantized(tmp_path / "q.safetensors", model), images), twice[0])
    assert set(sensitivity(model, quantized, [images[:1]])[1]) == {"a", "b"}


def test_a_weight_that_is_another_tensor_leaves_that_as_it_is(images):
    class Borrowing(Plain):
        def __init__(self):
            super().__init__()
            self.register_buffer("lent", torch.randn_like(self.a.weight))

        def forward(self, x):
            self.a.weight.data = self.lent
            return super().forward(x)

    quantized = quantize_model(model := Borrowing().eval(), images, QuantConfig("minmax", 32, 2))
    assert torch.equal(quantized.lent, model.lent)
    assert all(len(row.unique()) <= 4 for row in quantized.a.weight.flatten(1))
    assert torch.equal(run(quantized, images), run(quantized, images))
    assert all(len(row.unique()) <= 4 for row in quantized.a.weight.flatten(1))


def test_weights_that_cannot_be_kept_are_refused_by_name(images):
    model = Rewritten(Rewritten.assign).eval()
    with pytest.raises(ValueError, match=r"^the network writes the weights of a anew .* other layers$"):
        quantize_model(model, images, MINMAX)
    assert quantized_names(quantize_model(model, images, MINMAX, ["b"])) == ["b"]


def test_networks_that_take_no_small_images(images):
    class Large(Plain):
        def forward(self, x):
            assert x.shape[-1] >= 32
            return super().forward(x)

    large = torch.rand(1, 3, 32, 32)
    assert quantized_names(quantize_model(Large().eval(), large, MINMAX)) == ["a", "b"]


def test_only_plain_layers_are_held():
    class Own(nn.Conv2d):
        pass

    with pytest.raises(ValueError, match="the weight of a Own cannot be held"):
        hold(Own(3, 3, 1))


@pytest.mark.parametrize("method", ["minmax", "dfsq+", "mx"])
def test_trained_weights_are_float_again(method, images, tmp_path):
    torch.manual_seed(0)
    model = Plain().eval()
    quantized = quantize_model(model, images, QuantConfig(method, 4, 4))
    at_first = cost(quantized, 24, 24)
    optimizer = torch.optim.Adam([quantized.a.weight], 1e-3)
    quantized(images).mean().backward()
    optimizer.step()
    rows = {row.name: row for row in audit(quantized)}
    assert (rows["a"].weight_bits, rows["b"].weight_bits) == (32, 4)
    assert rows["a"].note == "its weights left their levels and are float again"
    assert rows["a"].note in str(audit(quantized))
    spent = cost(quantized, 24, 24)
    assert spent.bytes > at_first.bytes + 3 * model.a.weight.numel()
    assert spent.bitops > at_first.bitops
    assert spent.weight_bits > at_first.weight_bits
    save_quantized(quantized, tmp_path / "q.safetensors")
    back = load_quantized(tmp_path / "q.safetensors", model)
    assert {r.name: r.weight_bits for r in audit(back)} == {r.name: r.weight_bits for r in audit(quantized)}
    assert cost(back, 24, 24).bytes == spent.bytes


def test_a_file_whose_weights_have_more_values_than_its_header_says(images, tmp_path):
    model = Plain().eval()
    quantized = quantize_model(model, images, QuantConfig("minmax", 2, 2))
    del quantized.a.weight_levels  # as where nothing was noted
    quantized.a.weight.data.normal_()
    save_quantized(quantized, tmp_path / "q.safetensors")
    back = load_quantized(tmp_path / "q.safetensors", model)
    assert {row.name: row.weight_bits for row in audit(back) if not row.reason} == {"a": 32, "b": 2}


def test_another_type_does_not_move_weights(images):
    quantized = quantize_model(Plain().eval(), images, QuantConfig("dfsq+", 4, 4))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        cast = copy.deepcopy(quantized).to(dtype)
        assert [row.weight_bits for row in audit(cast) if not row.reason] == [4, 4]
