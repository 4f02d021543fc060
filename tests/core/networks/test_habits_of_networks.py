"""Habits of networks written elsewhere, one each, through all that a network goes through here."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from other_networks import Plain, conv, quantized_names
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import core
from core.images import round_8bit
from core.ptq.calibration import recorded

EIGHT = core.QuantConfig("minmax", 8, 8)


@pytest.fixture(scope="module")
def photos():
    lr = [round_8bit(core.make_lr(core.demo_image(name), 2)) for name in core.demo_names()[:3]]
    return core.calibration_patches(lr, 4, 48)


class SharedAlsoLast(Plain):
    """One conv runs in two places, the second of them the last."""

    def __init__(self):
        super().__init__()
        self.tail = conv(8, 8)
        self.up = nn.ConvTranspose2d(8, 3, 2, stride=2)

    def forward(self, x):
        h = self.tail(self.head(x)).relu()
        return self.up(self.tail(h + self.b(self.a(h).relu())))


class Grouped(Plain):
    """A dilated depthwise conv, and one that wraps around."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(8, 8, 3, padding=4, dilation=4, groups=8)
        self.b = nn.Conv2d(8, 8, (1, 5), padding="same", padding_mode="circular")


class Named(Plain):
    """Returns a dict whose key for the picture is its own."""

    def forward(self, x):
        return {"lr_mean": x.mean((2, 3)), "x2_pred_rgb": super().forward(x)}


class ByKeyword(Plain):
    """Takes the scale by keyword alone, and says its own."""

    scale = 2

    def forward(self, x, *, scale):
        return F.interpolate(super().forward(x), scale_factor=scale / 2)


class TiedNorm(Plain):
    """Two weight-normed convs with one norm and one direction."""

    def __init__(self):
        super().__init__(lambda i, o: weight_norm(conv(i, o)))
        self.b.parametrizations = self.a.parametrizations


class UnshuffledLuma(nn.Module):
    """Luma whose first conv takes four channels; odd sizes are not taken."""

    def __init__(self):
        super().__init__()
        self.head, self.a, self.b, self.tail = conv(4, 8), conv(8, 8), conv(8, 8), conv(8, 16)

    def forward(self, x):
        h = self.head(F.pixel_unshuffle(x, 2))
        return F.pixel_shuffle(self.tail(h + self.b(self.a(h).relu())), 4)


class InPlace(Plain):
    """Normalizes its input in place."""

    def forward(self, x):
        return super().forward(x.sub_(0.5).mul_(2))


class Windows(Plain):
    """Attention in windows of 8 pixels: other sizes are not taken."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        h = self.head(x)
        n, c, height, width = h.shape
        rows = h.view(n, c, height // 8, 8, width // 8, 8).permute(0, 2, 4, 3, 5, 1).reshape(-1, 64, c)
        seen = F.scaled_dot_product_attention(*self.qkv(rows).chunk(3, -1))
        seen = seen.view(n, height // 8, width // 8, 8, 8, c).permute(0, 5, 1, 3, 2, 4).reshape(h.shape)
        return F.pixel_shuffle(self.tail(h + seen + self.b(self.a(h).relu())), 2)


class Deployed(Plain):
    """Another attribute than `training` decides, and its own `eval` sets it."""

    def __init__(self):
        super().__init__()
        self.deploy, self.branch = False, conv(8, 8, 1)

    def train(self, mode=True):
        self.deploy = not mode
        return super().train(mode)

    def forward(self, x):
        h = self.head(x)
        branch = 0 if self.deploy else self.branch(h)
        return F.pixel_shuffle(self.tail(h + self.b((self.a(h) + branch).relu())), 2)


HABITS = [SharedAlsoLast, Grouped, Named, ByKeyword, TiedNorm, UnshuffledLuma, InPlace, Windows, Deployed]


def made(kind):
    torch.manual_seed(0)
    return kind().eval()


def decibels(sr, reference):
    away = (sr - reference).square().mean().sqrt() / (reference.max() - reference.min())
    return -20 * math.log10(max(float(away), 1e-9))


@pytest.mark.parametrize("kind", HABITS)
def test_quantized_saved_and_by_tiles(kind, photos, tmp_path):
    model, before = made(kind), photos.clone()
    reference = core.super_resolve(model, photos)
    assert torch.equal(photos, before)
    odd = core.super_resolve(model, photos[..., :37, :43])
    assert odd.shape[-2:] == (74, 86)
    lr = core.make_lr(core.demo_image(core.demo_names()[0]), 2)[..., 20:90, 30:121]
    assert decibels(core.super_resolve(model, lr, tile=32), core.super_resolve(model, lr)) > 100
    quantized = core.quantize_model(model, photos, EIGHT)
    assert len(quantized_names(quantized)) >= 1
    sr = core.super_resolve(quantized, photos)
    assert 40 < decibels(sr, reference) < 100
    core.save_quantized(quantized, tmp_path / "q.safetensors")
    again = core.load_quantized(tmp_path / "q.safetensors", made(kind))
    assert torch.equal(core.super_resolve(again, photos), sr)
    assert torch.equal(photos, before)


@pytest.mark.parametrize("kind", HABITS)
def test_as_onnx_and_int8(kind, photos):
    model = made(kind)
    reference = core.super_resolve(model, photos)
    graph = core.OnnxNetwork(core.export_onnx(model, photos))
    assert torch.allclose(core.super_resolve(graph, photos), reference, atol=1e-4)
    proto = core.quantize_int8(model, photos)
    assert 35 < decibels(core.super_resolve(core.OnnxNetwork(proto), photos), reference) < 90


@pytest.mark.parametrize("channels", [2, 4])
def test_pictures_of_other_channels_are_refused(channels, photos):
    model = made(Plain)
    model.tail = conv(8, 4 * channels)
    for call in (
        lambda: core.super_resolve(model, photos),
        lambda: core.evaluate(model, [core.Pair("a", photos[:1], photos[:1])], 2),
    ):
        with pytest.raises(ValueError, match=rf"Plain returns {channels} channels, and a picture has 1 or 3"):
            call()


class Autocast(Plain):
    """Turns autocast on itself, as some training code leaves it."""

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


def test_statistics_keep_their_precision_where_a_network_turns_autocast_on(photos):
    model, seen = made(Autocast), []
    with recorded(model, ["a"], lambda name, x: seen.append(torch.is_autocast_enabled("cpu"))):
        core.super_resolve(model, photos)
    assert seen == [False]
    quantized = core.quantize_model(model, photos, core.QuantConfig("dfsq+", 4, 4))
    assert decibels(core.super_resolve(quantized, photos), core.super_resolve(model, photos)) > 35
    with pytest.raises(ValueError, match=r"^the graph of Autocast does not run: .*bfloat16"):
        core.export_onnx(model)


class AnotherWay(Plain):
    """Leaves the inner layers out for small images."""

    def forward(self, x):
        h = self.head(x)
        return F.pixel_shuffle(self.tail(h + self.b(self.a(h)) if x.shape[-1] > 60 else h), 2)


def test_an_export_that_fits_small_images_alone_is_refused():
    with pytest.raises(
        ValueError, match=r"the export of AnotherWay is .* away from the network on 1x3x64x80"
    ):
        core.export_onnx(made(AnotherWay))


class Noisy(Plain):
    """Draws noise at every run."""

    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x))


class Recurrent(Plain):
    """Keeps features for the next frame."""

    before = None

    def forward(self, x):
        if self.before is not None and self.before.shape == x.shape:
            x = x + 0.5 * self.before
        self.before = x.detach()
        return super().forward(x)


@pytest.mark.parametrize("kind", [Noisy, Recurrent])
def test_pictures_that_change_from_run_to_run_are_said(kind, photos):
    sentence = f"{kind.__name__} gives another picture of the same image at every run"
    with pytest.warns(UserWarning, match=sentence):
        core.quantize_model(made(kind), photos, EIGHT)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        core.super_resolve(made(kind), photos[:1], tile=16)
    assert [w for w in said if sentence in str(w.message)] != []
