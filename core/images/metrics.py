"""PSNR and SSIM under the SR field's protocol: luma, border cropped, 8-bit rounding."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from core.images import check_images, luma, round_8bit


def _cropped_luma(sr: torch.Tensor, hr: torch.Tensor, border: int) -> tuple[torch.Tensor, torch.Tensor]:
    if sr.ndim != 4 or hr.ndim != 4 or sr[:, 0].shape != hr[:, 0].shape:
        raise ValueError(f"sr and hr must both be (N, 3, H, W), got {tuple(sr.shape)} and {tuple(hr.shape)}")
    for images, what in ((sr, "sr"), (hr, "hr")):
        check_images(images, what, channels=(1, 3))
    if not isinstance(border, int) or border < 0 or min(sr.shape[-2:]) <= 2 * border:
        raise ValueError(f"border {border} does not fit images of {tuple(sr.shape[-2:])} pixels")
    height, width = sr.shape[-2] - border, sr.shape[-1] - border
    crop = (..., slice(border, height), slice(border, width))
    return _luma(sr)[crop], _luma(hr)[crop]


def _luma(images: torch.Tensor) -> torch.Tensor:
    shown = round_8bit(images)
    return luma(shown) if images.shape[1] == 3 else 255 * shown.double()


def psnr_y(sr: torch.Tensor, hr: torch.Tensor, *, border: int) -> float:
    """PSNR of the luma channel in dB, the mean over the N images; inf for equal images.

    sr, hr: (N, 3, H, W) RGB in [0, 1], or luma / 255 (N, 1, H, W), as networks of one channel give; clamped
    and rounded to 8 bits here. `border` pixels are cropped on each side. Raises ValueError if the sizes
    differ or a value is not finite.
    """
    sr_y, hr_y = _cropped_luma(sr, hr, border)
    mse = (sr_y - hr_y).square().mean((1, 2, 3))
    return float((10 * torch.log10(255**2 / mse)).mean())


def ssim_y(sr: torch.Tensor, hr: torch.Tensor, *, border: int) -> float:
    """SSIM of the luma channel, the mean over the N images (Wang et al. 2004).

    11x11 Gaussian window of sigma 1.5, "valid" positions only, range 255, K1 = 0.01, K2 = 0.03.
    Raises ValueError as `psnr_y` does, and if fewer than 11 pixels are left in a direction.
    """
    x, y = _cropped_luma(sr, hr, border)
    if min(x.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs 11x11 pixels inside the border, got {tuple(x.shape[-2:])}")
    taps = torch.exp(-(torch.arange(-5, 6, dtype=x.dtype, device=x.device) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def smooth(t: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(t, taps.view(1, 1, 11, 1)), taps.view(1, 1, 1, 11))

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mu_x, mu_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mu_x**2, smooth(y * y) - mu_y**2
    covariance = smooth(x * y) - mu_x * mu_y
    ssim = (2 * mu_x * mu_y + c1) * (2 * covariance + c2)
    ssim = ssim / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))
    result = float(ssim.mean())
    return result if not math.isclose(result, 1.0, abs_tol=1e-12) else 1.0


def colour_shift(sr: torch.Tensor, reference: torch.Tensor) -> float:
    """How far the mean colour of `sr` is from that of `reference`, in 8-bit levels; the mean over N images.

    The largest of the channels' differences; both as in `psnr_y`, clamped and rounded to 8 bits here. Noise
    averages out: a tint or a change of brightness is left. Raises as `psnr_y` does.
    """
    if sr.shape != reference.shape:
        raise ValueError(f"the shapes differ: {tuple(sr.shape)} and {tuple(reference.shape)}")
    for images, what in ((sr, "sr"), (reference, "reference")):
        check_images(images, what, channels=(1, 3))
    difference = round_8bit(sr).double() - round_8bit(reference).double()
    return float(255 * difference.mean((2, 3)).abs().amax(1).mean())
