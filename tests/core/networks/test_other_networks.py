"""Other people's networks through calibration, quantization, audit, files and cost."""

import pytest
import torch
from other_networks import (
    Around,
    Attention,
    Hooked,
    Plain,
    Rewritten,
    Shifted,
    Tied,
    conv,
    quantized_names,
    run,
)
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from core.analysis.cost import cost
from core.images.metrics import psnr_y
from core.models import EDSR
from core.ptq.audit import audit
from core.ptq.calibration import recorded
from core.ptq.config import QuantConfig
from core.ptq.methods import METHODS
from core.ptq.quantize import calibrate, quantize_model
from core.ptq.saving import load_quantized, save_quantized

MINMAX = QuantConfig("minmax", 4, 4)
LEARNED_SCOPE = "every learned conv but the first and the last that is called"


def normed(inputs, outputs):
    return weight_norm(conv(inputs, outputs))


KINDS = {
    "wrapper": lambda: Around(Plain()),
    "parallel": lambda: nn.DataParallel(Plain()),
    "shifts": Shifted,
    "attention": Attention,
    "attention by Linear": lambda: Attention(True),
    "tied": Tied,
    "rewritten": Rewritten,
    "hooked": Hooked,
    "weight norm": lambda: Plain(normed),
    "half": lambda: Plain().half(),
    "bfloat16": lambda: Plain().bfloat16(),
    "double": lambda: Plain().double(),
    "channels last": lambda: Plain().to(memory_format=torch.channels_last),
}


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(0))


def made(kind):
    torch.manual_seed(0)
    return (KINDS[kind] if isinstance(kind, str) else kind)().eval()


@pytest.mark.parametrize("method", ["minmax", "dfsq", "dfsq+", "uniform+block", "daq", "mx"])
@pytest.mark.parametrize("kind", KINDS)
def test_near_float_at_eight_bits_and_the_same_from_a_file(kind, method, images, tmp_path):
    model = made(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quantized = quantize_model(model, images, QuantConfig(method, 8, 8))
    want, got = run(model, images), run(quantized, images)
    assert len(quantized_names(quantized)) >= 2
    assert (got - want).square().mean() < 0.003 * want.var()
    assert not torch.equal(got, want)
    if kind != "rewritten":  # which writes its own weights
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    save_quantized(quantized, tmp_path / "q.safetensors")
    back = load_quantized(tmp_path / "q.safetensors", model)
    assert torch.equal(run(back, images), got)
    assert [row.weight_bits for row in audit(back)] == [row.weight_bits for row in audit(quantized)]
    assert [row.reason for row in audit(back)] == [row.reason for row in audit(quantized)]


# Scope


@pytest.mark.parametrize("wrap", [Around, nn.DataParallel, lambda net: Around(Around(net))])
def test_a_wrapper_has_the_scope_that_the_network_inside_declares(wrap, tiny_edsr, images):
    plain, inside = (quantize_model(m, images, MINMAX) for m in (tiny_edsr, wrap(tiny_edsr)))
    assert [name.split("body.", 1)[1] for name in quantized_names(inside)] == [
        name.split("body.", 1)[1] for name in quantized_names(plain)
    ]
    assert inside.scope_in_words == plain.scope_in_words
    assert torch.equal(run(inside, images), run(plain, images))


def test_a_wrapper_with_learned_layers_of_its_own_has_the_default_scope(tiny_edsr, images):
    model = nn.Sequential(conv(3, 3), tiny_edsr, conv(3, 3)).eval()
    assert quantize_model(model, images, MINMAX).scope_in_words == LEARNED_SCOPE


@pytest.mark.parametrize("frozen", [True, False, "all"])
def test_fixed_shifts_are_no_first_and_last_conv(frozen, images):
    model = Shifted(frozen is True).eval()
    if frozen == "all":  # as of a network that is only run
        model.requires_grad_(False)
    assert quantized_names(quantize_model(model, images, MINMAX)) == ["a", "b"]


def test_a_frozen_mixing_of_colours_is_fixed_and_a_trained_one_is_not(images):
    for learned in (False, True):
        model = nn.Sequential(conv(3, 3, 1), conv(3, 4), conv(4, 4), conv(4, 3)).eval()
        model[0].requires_grad_(learned)
        expected = ["1", "2"] if learned else ["2"]
        assert quantized_names(quantize_model(model, images, MINMAX)) == expected


# Compiled


@pytest.mark.parametrize("called", [False, True])
def test_of_a_compiled_network_the_one_inside_is_quantized(called, images):
    torch.manual_seed(0)
    plain = Plain().eval()
    want = quantize_model(plain, images, MINMAX)
    torch._dynamo.reset()
    compiled = torch.compile(plain, backend="eager")
    if called:
        compiled(images)
    for layers in (None, ["_orig_mod.a", "b"], lambda name, module: name in ("a", "b")):
        quantized = quantize_model(compiled, images, MINMAX, layers)
        assert quantized_names(quantized) == ["a", "b"]
        assert torch.equal(run(quantized, images), run(want, images))
    assert cost(compiled, 24, 24) == cost(plain, 24, 24)


# Hooks of the network's own


@pytest.mark.parametrize("method", ["minmax", "dfsq", "mse"])
def test_a_layer_is_calibrated_on_what_its_own_hooks_let_through(method, images):
    torch.manual_seed(0)
    model = Hooked().eval()
    quantized = quantize_model(model, images, QuantConfig(method, 8, 32), ["a"])
    seen = []
    with recorded(quantized, ["a"], lambda name, x: seen.append(x)):
        run(quantized, images)
    h = model.head(images).detach() * 10 + 3
    assert torch.allclose(seen[0], h)
    assert (quantized.a.activation_quantizer(h) - h).abs().mean() < (h.max() - h.min()) / 100


# Shared tensors


@pytest.mark.parametrize("method", ["minmax", "dfsq", "dfsq+"])
def test_tied_layers_keep_what_is_theirs_in_files(method, images, tmp_path):
    torch.manual_seed(0)
    model = Tied().eval()
    quantized = quantize_model(model, images, QuantConfig(method, 2, 2))
    save_quantized(quantized, tmp_path / "q.safetensors")
    back = load_quantized(tmp_path / "q.safetensors", model)
    assert torch.equal(run(back, images), run(quantized, images))
    assert cost(back, 24, 24).bytes == cost(quantized, 24, 24).bytes
    assert model.a.weight is model.b.weight


def test_shared_weights_are_counted_once():
    model = Tied()
    assert cost(model, 24, 24).bytes == sum(p.numel() * 4 for p in model.parameters())
    assert cost(Plain(), 24, 24).bytes == cost(model, 24, 24).bytes + 4 * (8 * 72 + 8)


# Files and refusals


def test_of_data_parallel_the_network_inside_is_saved(tiny_edsr, images, tmp_path):
    quantized = quantize_model(nn.DataParallel(tiny_edsr), images, MINMAX)
    save_quantized(quantized, tmp_path / "q.safetensors")
    for model in (tiny_edsr, nn.DataParallel(tiny_edsr), torch.compile(tiny_edsr, backend="eager"), None):
        back = load_quantized(tmp_path / "q.safetensors", model)
        assert isinstance(back, EDSR)
        assert torch.equal(run(back, images), run(quantized, images))
        assert "sub_mean" in back.float_reasons


def test_a_quantized_network_is_no_frame_for_another(images, tmp_path):
    quantized = quantize_model(Plain().eval(), images, MINMAX)
    save_quantized(quantized, tmp_path / "q.safetensors")
    with pytest.raises(ValueError, match="quantized already; give a float network"):
        load_quantized(tmp_path / "q.safetensors", quantized)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_graphs_are_refused(images):
    traced = torch.jit.trace(Plain().eval(), images)
    exported = torch.export.export(Plain().eval(), (images,)).module()
    for graph in (traced, exported):
        for call in (quantize_model, calibrate):
            with pytest.raises(
                ValueError, match=r"holds no Conv2d.* quantize the network that it was made from"
            ):
                call(graph, images, MINMAX)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("calibration", ["black", "dead"])
def test_inputs_that_never_moved_in_calibration_stay_finite(calibration, method, images):
    torch.manual_seed(0)
    model = Plain().eval()
    if calibration == "dead":
        model.a.weight.data.zero_()
        model.a.bias.data.fill_(-1.0)
    seen = torch.zeros(2, 3, 12, 12) if calibration == "black" else images
    quantized = quantize_model(model, seen, QuantConfig(method, 4, 4))
    assert torch.isfinite(run(quantized, images)).all()
    assert torch.isfinite(run(quantized, torch.rand(1, 3, 1, 1))).all()
    if calibration == "dead":
        assert psnr_y(run(quantized, images).clamp(0, 1), run(model, images).clamp(0, 1), border=2) > 30
