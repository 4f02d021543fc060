import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from core import bicubic, colour_shift, luma, paired_folder, psnr_y, ssim_y
from core.images import round_8bit


def pair(shape=(1, 3, 30, 40), noise=0.1):
    hr = torch.rand(shape)
    return (hr + noise * torch.randn(shape)).clamp(0, 1), hr


def test_psnr_by_hand():
    # One level of grey is 219/255 of luma.
    hr = torch.full((1, 3, 8, 8), 100 / 255)
    expected = 20 * math.log10(255 / (219 / 255))
    assert psnr_y(hr + 1 / 255, hr, border=2) == pytest.approx(expected)


def test_psnr_counts_only_inside_the_border():
    hr = torch.full((1, 3, 8, 8), 0.5)
    sr = hr.clone()
    sr[..., 1, :] = 1
    assert psnr_y(sr, hr, border=2) == math.inf
    assert psnr_y(sr, hr, border=1) < 30


def test_psnr_rounds_and_clamps():
    hr = torch.zeros(1, 3, 4, 4)
    assert psnr_y(hr + 0.49 / 255, hr, border=0) == math.inf
    assert psnr_y(hr - 9, hr, border=0) == math.inf


def test_psnr_is_the_mean_over_images():
    sr, hr = pair((3, 3, 20, 20))
    each = [psnr_y(sr[i : i + 1], hr[i : i + 1], border=2) for i in range(3)]
    assert psnr_y(sr, hr, border=2) == pytest.approx(np.mean(each))


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("border", [0, 3])
def test_equal_scikit_image(noise, border):
    sr, hr = pair(noise=noise)
    inside = slice(border, -border or None)
    x, y = (luma(round_8bit(t))[0, 0, inside, inside].numpy() for t in (sr, hr))
    assert psnr_y(sr, hr, border=border) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255))
    oracle = structural_similarity(
        x, y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim_y(sr, hr, border=border) == pytest.approx(oracle, abs=1e-9)


def test_ssim_by_hand():
    # Constant images have no variance: (2xy + c1) / (x² + y² + c1) is left.
    x, y, c1 = 16 + 219 * 51 / 255, 16 + 219 * 102 / 255, (0.01 * 255) ** 2
    sr, hr = torch.full((1, 3, 11, 11), 51 / 255), torch.full((1, 3, 11, 11), 102 / 255)
    assert ssim_y(sr, hr, border=0) == pytest.approx((2 * x * y + c1) / (x * x + y * y + c1))


def test_ssim_of_equal_images_is_one():
    assert ssim_y(*[torch.rand(2, 3, 16, 16)] * 2, border=2) == 1


def test_published_bicubic_psnr(benchmark_data):
    scores = [
        psnr_y(bicubic(lr, 2), hr, border=2) for _, lr, hr in paired_folder(benchmark_data / "Set5/x2", 2)
    ]
    assert np.mean(scores) == pytest.approx(33.66, abs=0.02)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
@pytest.mark.parametrize(
    ("sr", "hr", "border", "message"),
    [
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 21), 0, r"got \(1, 3, 20, 20\) and \(1, 3, 20, 21\)"),
        (
            torch.rand(1, 2, 20, 20),
            torch.rand(1, 2, 20, 20),
            0,
            r"sr must be .* shape \(N, 3, H, W\)",
        ),
        (torch.rand(3, 20, 20), torch.rand(3, 20, 20), 0, r"must both be \(N, 3, H, W\)"),
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20), 10, "border 10 does not fit"),
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20), -1, "border -1 does not fit"),
        (torch.full((1, 3, 20, 20), torch.nan), torch.rand(1, 3, 20, 20), 0, "must be finite"),
        (torch.rand(1, 3, 20, 20), torch.full((1, 3, 20, 20), torch.inf), 0, "must be finite"),
    ],
)
def test_images_that_cannot_be_compared(metric, sr, hr, border, message):
    with pytest.raises(ValueError, match=message):
        metric(sr, hr, border=border)


def test_ssim_needs_a_window():
    with pytest.raises(ValueError, match=r"needs 11x11 pixels inside the border, got \(10, 16\)"):
        ssim_y(*pair((1, 3, 14, 20)), border=2)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
def test_images_in_another_range_are_refused(metric):
    image = torch.rand(1, 3, 20, 20)
    with pytest.raises(ValueError, match="divide by 255"):
        metric(image * 255, image * 255, border=2)
    with pytest.raises(ValueError, match="floating point"):
        metric((image * 255).byte(), image, border=2)


def test_colour_shift_by_hand():
    """Channel means moved by 3, -5 and 0 levels; noise of mean 0 changes nothing."""
    reference = torch.full((1, 3, 8, 8), 100 / 255)
    sr = reference + torch.tensor([3, -5, 0]).view(3, 1, 1) / 255
    assert colour_shift(sr, reference) == pytest.approx(5)
    noise = torch.tensor([4, -4] * 32).view(8, 8) / 255
    assert colour_shift(reference + noise, reference) == pytest.approx(0, abs=1e-9)
    assert colour_shift(torch.cat([sr, reference]), torch.cat([reference] * 2)) == pytest.approx(2.5)
    with pytest.raises(ValueError, match="the shapes differ"):
        colour_shift(sr, reference[..., 1:])
