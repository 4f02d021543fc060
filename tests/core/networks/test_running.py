import copy
import dataclasses
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from core import (
    EDSR,
    Pair,
    QuantConfig,
    calibrate,
    evaluate,
    export_onnx,
    psnr_y,
    quantize_int8,
    quantize_model,
    super_resolve,
)
from core.analysis.cost import cost
from core.images.colour import luma_of
from core.networks.running import eval_mode, image_alone, run, takes_luma


class Small(nn.Module):
    """Four convs, x2; `ending(sr, features)` makes what it returns."""

    def __init__(self, ending=lambda sr, features: sr, channels=3):
        super().__init__()
        self.ending = ending
        sizes = ((channels, 8), (8, 8), (8, 8), (8, 4 * channels))
        self.head, self.a, self.b, self.tail = (nn.Conv2d(i, o, 3, padding=1) for i, o in sizes)

    def forward(self, x):
        features = self.a(self.head(x).relu())
        return self.ending(F.pixel_shuffle(self.tail(self.b(features).relu()), 2), features)


@dataclasses.dataclass
class Result:
    features: torch.Tensor
    picture: torch.Tensor


# What networks return beside the picture: features, pictures of lower scales, intermediate steps.
ENDINGS = {
    "tuple": lambda sr, f: (sr, f),
    "picture last": lambda sr, f: (f, sr),
    "list": lambda sr, f: [f, sr],
    "dict": lambda sr, f: {"features": f, "anything": sr},
    "named": lambda sr, f: {"sr": sr, "error": sr * 0},
    "dataclass": lambda sr, f: Result(f, sr),
    "nested": lambda sr, f: (f, {"pictures": [sr]}),
    "lower scale first": lambda sr, f: (F.avg_pool2d(sr, 2), sr),
    "lower scale last": lambda sr, f: [sr, F.avg_pool2d(sr, 2)],
    "steps and picture": lambda sr, f: ([sr * 0, sr * 0.5], sr),
    "picture and steps": lambda sr, f: (sr, [sr * 0, sr * 0.5]),
    "None too": lambda sr, f: (None, sr),
}


def twins(ending, **kwargs):
    """A network with that ending, and one with the same weights that returns the picture alone."""
    plain = Small(**kwargs).eval()
    strange = copy.deepcopy(plain)
    strange.ending = ending
    return strange, plain


@pytest.mark.parametrize("name", ENDINGS)
def test_the_picture_is_found_in_what_is_returned(name):
    strange, plain = twins(ENDINGS[name])
    lr, hr = torch.rand(1, 3, 40, 30), torch.rand(1, 3, 80, 60)
    whole = super_resolve(plain, lr)
    assert torch.equal(super_resolve(strange, lr), whole)
    assert torch.allclose(super_resolve(strange, lr, tile=16), whole, atol=1e-6)
    assert evaluate(strange, [Pair("a", lr, hr)], 2) == evaluate(plain, [Pair("a", lr, hr)], 2)


@pytest.mark.parametrize("name", ENDINGS)
def test_quantized_networks_return_as_they_did(name, images):
    strange, plain = twins(ENDINGS[name])
    config = QuantConfig("minmax", 4, 4)
    expected = quantize_model(plain, images, config)
    found = quantize_model(strange, calibrate(strange, images, config), config)
    assert torch.equal(super_resolve(found, images), super_resolve(expected, images))
    assert cost(found, 16, 16) == cost(expected, 16, 16)


@pytest.mark.parametrize("name", ENDINGS)
def test_image_alone(name):
    strange, plain = twins(ENDINGS[name])
    x = torch.rand(1, 3, 8, 8)
    alone = image_alone(copy.deepcopy(strange), x)
    assert torch.equal(alone(x), plain(x))
    other = copy.deepcopy(alone)
    other.tail.bias.data += 1
    assert torch.allclose(other(x), plain(x) + 1, atol=1e-6)
    assert torch.equal(run(alone, x), plain(x))


@pytest.mark.parametrize(("ending", "taken"), [(tuple, 0), (list, 1)])
def test_several_pictures_of_one_size_are_said(ending, taken):
    strange, plain = twins(lambda sr, f: ending([sr, sr + 1]))
    lr = torch.rand(1, 3, 8, 8)
    with pytest.warns(UserWarning, match=rf"Small returns 2 pictures of one size, of which \[{taken}\]"):
        found = super_resolve(strange, lr)
    assert torch.allclose(found, super_resolve(plain, lr) + taken)


@pytest.mark.parametrize("ending", [lambda sr, f: (f, f), lambda sr, f: None, lambda sr, f: sr.mean()])
def test_no_picture_is_refused(ending):
    with pytest.raises(ValueError, match=r"Small does not run on images of 8×9 pixels .* it returns"):
        super_resolve(Small(ending), torch.rand(1, 3, 9, 8))


class Scaled(nn.Module):
    """One conv and an enlargement by what it is told."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, scale):
        return F.interpolate(self.conv(x), scale_factor=scale)


class Optional(Scaled):
    def forward(self, x, scale=3):
        return super().forward(x, scale)


class Other(Scaled):
    def forward(self, x, noise_level):
        return super().forward(x, 2)


def test_networks_that_take_the_scale():
    model, lr = Scaled(), torch.rand(1, 3, 12, 14)
    assert super_resolve(model, lr, scale=2).shape[-2:] == (24, 28)
    assert evaluate(model, [Pair("a", lr, torch.rand(1, 3, 36, 42))], 3).rows[0]["name"] == "a"
    with pytest.raises(ValueError, match=r"Scaled asks for the scale.*model.scale = 2"):
        super_resolve(model, lr)
    model.scale = 4
    assert super_resolve(model, lr, tile=8).shape[-2:] == (48, 56)
    assert super_resolve(nn.DataParallel(model), lr).shape[-2:] == (48, 56)
    calibrate(model, lr, QuantConfig("minmax"), layers=["conv"])
    assert image_alone(copy.deepcopy(model), lr)(lr).shape[-2:] == (48, 56)
    assert super_resolve(Optional(), lr).shape[-2:] == (36, 42)
    assert super_resolve(Optional(), lr, scale=2).shape[-2:] == (24, 28)


def test_what_else_is_asked_for_is_refused():
    with pytest.raises(ValueError, match="Other asks for 'noise_level' beside the images"):
        super_resolve(Other(), torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model, lr = Small().eval(), torch.rand(1, 3, 40, 21)
    expected, other = super_resolve(model, lr), copy.deepcopy(model).to(dtype)
    for tile in (None, 16):
        sr = super_resolve(other, lr, tile)
        assert sr.dtype == torch.float32
        assert torch.allclose(sr, expected, atol=8 * torch.finfo(dtype).eps + 1e-6)
    assert next(other.parameters()).dtype == dtype


def test_default_dtype():
    model, lr = Small().eval(), torch.rand(1, 3, 8, 8)
    expected = super_resolve(model, lr)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(super_resolve(model, lr), expected)
    finally:
        torch.set_default_dtype(torch.float32)


class Unshuffle(nn.Module):
    """x2 on a map of a third of the size, so that it takes multiples of 3 alone."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(27, 3 * 36, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.conv(F.pixel_unshuffle(x, 3)), 6)


def test_sizes_that_a_network_does_not_take_are_padded_by_reflection():
    model, lr = Unshuffle(), torch.rand(1, 3, 10, 12)
    padded = F.pad(lr, (0, 0, 0, 2), "reflect")
    assert torch.equal(super_resolve(model, lr), model(padded)[..., :20, :].detach())
    assert super_resolve(model, torch.rand(1, 3, 1, 2)).shape[-2:] == (2, 4)


class Rounded(nn.Module):
    """Gives the next multiple of 4 whatever it gets, as an encoder and decoder without skips."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 4, stride=4, padding=2), nn.ConvTranspose2d(8, 3, 8, 8)

    def forward(self, x):
        return self.up(self.down(x)[..., 1:, 1:])


def test_a_picture_of_no_whole_multiple_is_cropped():
    model, lr = Rounded(), torch.rand(1, 3, 10, 12)
    assert model(lr).shape[-2:] == (16, 24)
    assert torch.equal(
        super_resolve(model, lr), model(F.pad(lr, (0, 0, 0, 2), "reflect"))[..., :20, :].detach()
    )


def test_one_sentence_for_a_network_that_does_not_run():
    with pytest.raises(ValueError, match=r"^Conv2d does not run on images of 8×9 pixels and 3 channels: .*$"):
        super_resolve(nn.Conv2d(5, 3, 1), torch.rand(1, 3, 9, 8))


class Batch(nn.Module):
    """Takes what its own loader gives."""

    def forward(self, batch):
        return batch["lq"]


def test_networks_that_take_no_images():
    with pytest.raises(ValueError, match=r"^Batch does not run on images of 8×9 pixels"):
        super_resolve(Batch(), torch.rand(1, 3, 9, 8))


def test_networks_of_one_channel():
    model, lr, hr = Small(channels=1).eval(), torch.rand(1, 3, 20, 15), torch.rand(1, 3, 40, 30)
    assert takes_luma(model)
    assert not takes_luma(Small())
    y = luma_of(lr)
    with torch.no_grad():
        expected = model(y)
    assert torch.equal(super_resolve(model, y), expected)
    assert torch.equal(run(model, lr), expected)
    rgb = super_resolve(model, lr)
    assert rgb.shape == (1, 3, 40, 30)
    assert torch.allclose(luma_of(rgb), expected, atol=1e-5)
    score = evaluate(model, [Pair("a", lr, hr)], 2)
    assert score.psnr == psnr_y(expected, hr, border=2)
    assert evaluate(model, [Pair("a", y, luma_of(hr))], 2).psnr == pytest.approx(score.psnr, abs=0.05)
    assert torch.allclose(super_resolve(model, lr, tile=8), rgb, atol=1e-5)
    assert torch.equal(image_alone(copy.deepcopy(model), lr)(y), expected)
    wide = Small(channels=3)
    with pytest.raises(ValueError, match="Small does not run on images of 15×20 pixels and 1 channels"):
        super_resolve(wide, y)


def test_networks_of_one_channel_are_calibrated_on_luma(images):
    model, config = Small(channels=1).eval(), QuantConfig("minmax", 4, 4)
    from_rgb, from_luma = (quantize_model(model, x, config) for x in (images, luma_of(images)))
    assert torch.equal(super_resolve(from_rgb, images), super_resolve(from_luma, images))
    assert torch.equal(run(from_rgb, images), run(from_rgb, luma_of(images)))


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


class Merges(nn.Module):
    """Does more than set a flag when its mode changes, as networks that merge branches for inference."""

    def __init__(self):
        super().__init__()
        self.conv, self.merged = nn.Conv2d(3, 3, 1), False

    def train(self, mode=True):
        self.merged = not mode
        return super().train(mode)

    def forward(self, x):
        return x


def test_a_network_comes_back_to_its_own_mode():
    model = nn.Sequential(Merges(), nn.BatchNorm2d(3))
    model[1].eval()
    with eval_mode(model):
        assert model[0].merged
    assert not model[0].merged
    assert [m.training for m in model] == [True, False]


def test_errors_of_callers_go_through():
    model = EDSR(2, 1, 4).eval()

    def stop(module, args):
        raise InterruptedError

    model.head.register_forward_pre_hook(stop)
    with pytest.raises(InterruptedError):
        super_resolve(model, torch.rand(1, 3, 8, 8))
