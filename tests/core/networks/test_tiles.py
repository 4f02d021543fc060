import math
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from networks import Mixed
from torch import nn

from core import (
    EDSR,
    OnnxNetwork,
    QuantConfig,
    demo_image,
    demo_names,
    export_onnx,
    quantize_model,
    receptive_radius,
    super_resolve,
)
from core.models.swinir import SwinIR
from core.networks.running import run
from core.networks.tiles import tiling


def conv(n_in, n_out, size=3, **kwargs):
    return nn.Conv2d(n_in, n_out, size, padding=size // 2, **kwargs)


class Unshuffle(nn.Module):
    """x2 on a map `by` times smaller."""

    def __init__(self, by):
        super().__init__()
        self.by = by
        self.a, self.b, self.c = conv(3 * by**2, 8), conv(8, 8), conv(8, 12 * by**2)

    def forward(self, x):
        y = F.pixel_unshuffle(x, self.by)
        return F.pixel_shuffle(self.c(self.b(self.a(y).relu()).relu()), 2 * self.by)


class UNet(nn.Module):
    """Strided convs down, transposed convs up, with skips: takes multiples of 4."""

    def __init__(self):
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 12)
        self.down1, self.down2 = conv(8, 8, stride=2), conv(8, 8, stride=2)
        self.up2, self.up1 = (nn.ConvTranspose2d(8, 8, 2, stride=2) for _ in range(2))

    def forward(self, x):
        x = self.head(x)
        y = self.down1(x).relu()
        y = y + self.up2(self.down2(y).relu())
        return F.pixel_shuffle(self.tail(x + self.up1(y)), 2)


class Pooled(nn.Module):
    """Average pooling and a bilinear way up."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 8), conv(8, 12)

    def forward(self, x):
        y = self.a(x).relu()
        low = F.avg_pool2d(y, 3, stride=3)
        return F.pixel_shuffle(self.b(y + F.interpolate(low, scale_factor=3, mode="bilinear")), 2)


class Windows(nn.Module):
    """Attention in windows of `size` pixels, without shift: takes multiples of them."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.head, self.qkv, self.tail = conv(3, 8), nn.Linear(8, 24), conv(8, 12)

    def forward(self, x):
        y, s = self.head(x), self.size
        n, c, h, w = y.shape
        tokens = y.view(n, c, h // s, s, w // s, s).permute(0, 2, 4, 3, 5, 1).reshape(-1, s * s, c)
        q, k, v = self.qkv(tokens).chunk(3, -1)
        seen = (4 * q @ k.transpose(1, 2)).softmax(-1) @ v
        seen = seen.view(n, h // s, w // s, s, s, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)
        return F.pixel_shuffle(self.tail(y + seen), 2)


class ContrastAware(nn.Module):
    """IMDN's channel attention: it weighs each channel by its mean and deviation over the whole picture."""

    def __init__(self, n_feats=8):
        super().__init__()
        self.head, self.tail = conv(3, n_feats), conv(n_feats, 12)
        self.body = nn.Sequential(conv(n_feats, n_feats), nn.LeakyReLU(0.05), conv(n_feats, n_feats))
        self.squeeze, self.excite = nn.Conv2d(n_feats, 4, 1), nn.Conv2d(4, n_feats, 1)

    def forward(self, x):
        x = self.head(x)
        y = self.body(x)
        mean = y.mean((2, 3), keepdim=True)
        deviation = (y - mean).square().mean((2, 3), keepdim=True).sqrt()
        weight = self.excite(self.squeeze(50 * (mean + deviation)).relu()).sigmoid()
        return F.pixel_shuffle(self.tail(x + 9 * y * weight), 2)


@pytest.fixture(scope="module")
def photo():
    return demo_image(demo_names()[0])[..., 60:220, 100:300]


EXACT = {
    "unshuffle 2": (lambda: Unshuffle(2), 2),
    "unshuffle 3": (lambda: Unshuffle(3), 3),
    "unshuffle 4": (lambda: Unshuffle(4), 4),
    "U-Net": (UNet, 4),
    "pooled": (Pooled, 3),
    "windows of 8": (lambda: Windows(8), 8),
    "windows of 12": (lambda: Windows(12), 12),
    "mixed": (Mixed, 1),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("size", "tile"), [((70, 93), 31), ((81, 60), 24), ((5, 41), 7)])
def test_tiles_begin_at_multiples_of_the_step(name, size, tile, photo):
    build, step = EXACT[name]
    model, lr = build().eval(), photo[..., : size[0], : size[1]]
    with torch.no_grad():
        plan = tiling(model, photo, lambda x: run(model, x))
    assert plan.step == step
    assert plan.exact
    whole = super_resolve(model, lr)
    assert torch.allclose(super_resolve(model, lr, tile=tile), whole, atol=1e-5)


@pytest.mark.parametrize("method", ["minmax", "dfsq"])
def test_the_step_of_quantized_networks(method, photo):
    model = quantize_model(UNet().eval(), photo, QuantConfig(method, 4, 4))
    with torch.no_grad():
        plan = tiling(model, photo, lambda x: run(model, x))
    assert (plan.step, plan.exact) == (4, True)


def test_shifted_windows(photo):
    model = SwinIR(2, n_feats=12, depths=(2, 2), n_heads=2, hidden=24).eval()
    lr = photo[..., :90, :110]
    with torch.no_grad():
        assert tiling(model, lr, lambda x: run(model, x)).step == 8
    assert torch.allclose(super_resolve(model, lr, tile=37), super_resolve(model, lr), atol=1e-4)


def test_a_network_that_looks_at_the_whole_picture_says_so(photo):
    model = ContrastAware().eval()
    whole = super_resolve(model, photo)
    with pytest.warns(UserWarning, match="ContrastAware looks at the whole picture") as said:
        tiled = super_resolve(model, photo, tile=32)
    away = (tiled - whole).square().mean().sqrt() / (whole.max() - whole.min())
    decibels, levels = map(float, re.findall(r"([\d.]+) (?:dB|8-bit)", str(said[0].message)))
    assert decibels == pytest.approx(-20 * math.log10(away), abs=6)  # measured on a piece
    assert levels == pytest.approx(255 * float((tiled - whole).abs().max()), rel=0.5)
    assert said[0].filename == __file__
    told = []
    assert torch.equal(super_resolve(model, photo, tile=32, tell=told.append), tiled)  # and no warning
    assert [str(said[0].message)] == [f"{told[0]}; leave `tile` out to run it whole"]
    assert (told[0].side, told[0].measured) == (32, 16)


def test_a_small_image_is_run_whole(photo):
    model, lr, shares = ContrastAware().eval(), photo[..., :40, :57], []
    whole = super_resolve(model, lr)
    assert torch.equal(super_resolve(model, lr, tile=50, progress=shares.append), whole)
    assert shares == [1.0]


def test_convs_on_smaller_maps_look_further():
    assert receptive_radius(Unshuffle(4)) == 4 * 3
    # head 1, down1 1, down2 2; transposed convs of 2x2 pixels on maps of a quarter and a half 4 + 2; tail 1
    assert receptive_radius(UNet()) == 11


def test_onnx_networks(photo):
    lr = photo[..., :64, :80]
    graph = OnnxNetwork(export_onnx(EDSR(2, n_blocks=1, n_feats=4, rgb_range=1.0).eval()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(super_resolve(graph, lr, tile=25), super_resolve(graph, lr), atol=1e-5)
