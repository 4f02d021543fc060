import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import Mixed
from torch import nn

from core import (
    EDSR,
    Pair,
    QuantConfig,
    bicubic,
    evaluate,
    psnr_y,
    quantize_model,
    receptive_radius,
    ssim_y,
    super_resolve,
)


class Bicubic(nn.Module):
    def forward(self, x):
        return bicubic(x, 2)


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.full((1, 3, 2 * x.shape[-2], 2 * x.shape[-1]), self.value)


def pairs(n=2):
    return [Pair(f"image {i}", torch.rand(1, 3, 10, 11), torch.rand(1, 3, 20, 22)) for i in range(n)]


def test_evaluate_by_hand():
    # 0.499 rounds to 127; -3 is clamped to 0.
    hr = torch.full((1, 3, 20, 20), 128 / 255)
    for value, shown in ((0.499, 127 / 255), (-3.0, 0.0)):
        result = evaluate(Constant(value), [Pair("grey", torch.rand(1, 3, 10, 10), hr)], 2)
        luma_error = 219 * (128 / 255 - shown)
        assert result.psnr == pytest.approx(20 * np.log10(255 / luma_error), rel=1e-5)


def test_evaluate_rows_and_means():
    data = pairs(3)
    result = evaluate(Bicubic(), iter(data), 2)
    assert [row["name"] for row in result.rows] == ["image 0", "image 1", "image 2"]
    for row, (_, lr, hr) in zip(result.rows, data, strict=True):
        assert row["psnr"] == pytest.approx(psnr_y(bicubic(lr, 2), hr, border=2))
        assert row["ssim"] == pytest.approx(ssim_y(bicubic(lr, 2), hr, border=2))
    assert result.psnr == pytest.approx(np.mean([row["psnr"] for row in result.rows]))
    assert result.ssim == pytest.approx(np.mean([row["ssim"] for row in result.rows]))


def test_evaluate_refuses():
    with pytest.raises(ValueError, match="at least one pair of images, got none"):
        evaluate(Bicubic(), [], 2)
    wrong = Pair("a", torch.rand(1, 3, 10, 10), torch.rand(1, 3, 30, 30))
    with pytest.raises(ValueError, match=r"a: LR \(10, 10\), SR \(20, 20\), HR \(30, 30\).* scale 3"):
        evaluate(Bicubic(), [wrong], 3)
    fits = Pair("a", torch.rand(1, 3, 10, 10), torch.rand(1, 3, 20, 20))
    with pytest.raises(ValueError, match="not all at scale 4"):
        evaluate(Bicubic(), [fits], 4)
    with pytest.raises(ValueError, match="must be finite"):
        evaluate(Constant(float("nan")), pairs(1), 2)


def test_eval_mode_is_used_and_given_back():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Upsample(scale_factor=2))
    model[0].eval()
    x = torch.rand(1, 3, 12, 12)
    sr = super_resolve(model, x)
    assert [m.training for m in model.modules()] == [True, False, True, True]
    assert torch.allclose(sr, F.interpolate(x, scale_factor=2), rtol=1e-4)
    assert not super_resolve(EDSR(2, 1, 4), x).requires_grad


def edsr(scale=2):
    return EDSR(scale, n_blocks=1, n_feats=6, rgb_range=1.0).eval()


TILED = {
    "float": lambda images: edsr(),
    "x4": lambda images: edsr(4),
    "minmax": lambda images: quantize_model(edsr(), images, QuantConfig("minmax", 4, 4)),
    "percentile": lambda images: quantize_model(edsr(), images, QuantConfig("percentile", 3, 3)),
    "transposed": lambda images: Mixed().eval(),
}


@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize(("size", "tile"), [((5, 6), 1), ((33, 29), 9), ((20, 45), 16)])
def test_tiles_give_the_picture_of_the_whole(name, size, tile, images):
    model, lr = TILED[name](images), torch.rand(1, 3, *size)
    whole = super_resolve(model, lr)
    assert torch.allclose(super_resolve(model, lr, tile=tile), whole, atol=1e-5)
    assert torch.equal(super_resolve(model, lr, tile=max(size)), whole)


def test_dynamic_networks_differ_by_tile(images):
    model = quantize_model(EDSR(2, 1, 6, rgb_range=1.0).eval(), images, QuantConfig())
    lr = torch.rand(1, 3, 24, 24)
    assert not torch.allclose(super_resolve(model, lr, tile=8), super_resolve(model, lr), atol=1e-5)


def test_progress_and_cancel():
    shares = []
    super_resolve(EDSR(2, 1, 4), torch.rand(1, 3, 20, 30), tile=10, progress=shares.append)
    assert shares == pytest.approx([i / 6 for i in range(1, 7)])

    def cancel(share):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        super_resolve(EDSR(2, 1, 4), torch.rand(1, 3, 20, 30), tile=10, progress=cancel)


@pytest.mark.parametrize("tile", [0, -4])
def test_wrong_tiles(tile):
    with pytest.raises(ValueError, match=f"tile must be a whole number of at least 1, got {tile}"):
        super_resolve(EDSR(2, 1, 4), torch.rand(1, 3, 8, 8), tile=tile)


@pytest.mark.parametrize("lr", [torch.rand(3, 8, 8), torch.full((1, 3, 8, 8), torch.inf)])
def test_wrong_images(lr):
    with pytest.raises(ValueError, match="lr must be"):
        super_resolve(Bicubic(), lr)


def test_receptive_radius_by_hand():
    # EDSR with 2 blocks: mean shifts 0, head 1, blocks 4, end of body 1, upsampler 1, tail 1.
    assert receptive_radius(EDSR(2, n_blocks=2, n_feats=4)) == 8
    assert receptive_radius(nn.Sequential(nn.Conv2d(3, 3, 5, padding=4, dilation=2))) == 4
    assert receptive_radius(nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1)] * 3)) == 3
    assert receptive_radius(Bicubic()) == 0


@pytest.mark.parametrize("build", [lambda: EDSR(2, n_blocks=1, n_feats=4, rgb_range=1.0), Mixed])
def test_nothing_beyond_the_receptive_radius_matters(build):
    model = build().eval()
    radius = receptive_radius(model)
    x = torch.rand(1, 3, 41, 41)
    changed = x.clone()
    changed[..., 20, 20] += 1
    difference = (super_resolve(model, changed) - super_resolve(model, x)).abs().sum((0, 1))
    scale = difference.shape[0] // 41
    touched = difference.nonzero() // scale
    assert touched.min() >= 20 - radius
    assert touched.max() <= 20 + radius
