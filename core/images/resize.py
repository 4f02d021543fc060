"""Bicubic resizing as MATLAB's imresize does it, and the low-resolution (LR) images of the SR field."""

from __future__ import annotations

import functools

import numpy as np
import torch

from core.images.tensors import modcrop
from core.utils.numbers import check_whole


def _cubic(x: np.ndarray) -> np.ndarray:
    """Return Keys' cubic convolution kernel with a = -0.5 at x."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.lru_cache(maxsize=64)
def _resize_weights(length: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the source indices and weights of a 1-D bicubic resize, both (output length, taps)."""
    stretch = min(factor, 1.0)  # antialiasing: the kernel is wider when the image is reduced
    taps = int(np.ceil(4 / stretch)) + 2
    centre = (np.arange(int(np.ceil(length * factor - 1e-9))) + 0.5) / factor - 0.5
    index = np.floor(centre - 2 / stretch).astype(int)[:, None] + np.arange(taps)
    weights = stretch * _cubic(stretch * (centre[:, None] - index))
    return index.clip(0, length - 1), weights / weights.sum(1, keepdims=True)


def bicubic(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Resize (..., H, W) in [0, 1] by `factor` as MATLAB's imresize does with 8-bit images.

    a = -0.5, antialiased when reducing, edge pixels repeated; height first, and rounded to 8 bits after each
    direction (without that step, a third of the pixels of the benchmarks' LR differ by one level).

    >>> import torch
    >>> from core import bicubic
    >>> ramp = torch.tensor([0, 80, 160, 240]).div(255).expand(4, 4)
    >>> (bicubic(ramp, 0.5) * 255).round().int().tolist()
    [[42, 198], [42, 198]]
    """
    x = images.double() * 255
    for dim in (-2, -1):
        index, weights = _resize_weights(images.shape[dim], float(factor))
        index, weights = torch.from_numpy(index).to(x.device), torch.from_numpy(weights).to(x.device)
        x = x.movedim(dim, -1)
        rows = sum(x[..., index[:, tap]] * weights[:, tap] for tap in range(index.shape[1]))
        # Ties round up; 1e-9 absorbs the error of float64 in sums that are exactly a tie.
        x = (rows.movedim(-1, dim) + 0.5 + 1e-9).floor().clamp(0, 255)
    return (x / 255).to(images.dtype)


def make_lr(hr: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the bicubic LR of an HR image (..., H, W), as the SR field makes it: modcrop, then reduce.

    ValueError if the image is smaller than one LR pixel.

    >>> import torch
    >>> from core import make_lr
    >>> make_lr(torch.rand(1, 3, 50, 61), 4).shape
    torch.Size([1, 3, 12, 15])
    """
    check_whole("scale", scale)
    height, width = hr.shape[-2:]
    if min(height, width) < scale:
        raise ValueError(
            f"an image of {width}×{height} pixels is too small for ×{scale}; choose a larger one"
        )
    return bicubic(modcrop(hr, scale), 1 / scale)
