import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from networks import Small
from torch import nn

from core import (
    EDSR,
    Pair,
    QuantConfig,
    calibrate,
    evaluate,
    quantize_model,
    super_resolve,
)
from core.analysis.cost import cost
from core.networks.running import eval_mode, image_alone, run


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
