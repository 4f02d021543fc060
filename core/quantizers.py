"""Quantizers: what replaces a layer's activations or weights by values of few bits.

Each simulates quantization: float in, float out, the output restricted to `2**bits` levels. Gradients pass
straight through.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from core.lookup import nearest_points
from core.moments import Moments

EPS = 1e-8  # DFSQ's, in the denominator of the normalization


class Round(torch.autograd.Function):
    """Round to nearest; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


def uniform(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, bits: int) -> torch.Tensor:
    """q(x; l, u) = round((clip(x, l, u) - l) / s) * s + l with s = (u - l) / (2^bits - 1); broadcasts l, u.

    Where l = u every value becomes l.
    """
    scale = (high - low) / (2**bits - 1)
    divisor = torch.where(scale > 0, scale, torch.ones_like(scale))
    return Round.apply((torch.clamp(x, low, high) - low) / divisor) * scale + low


class UniformQuantizer(nn.Module):
    """Static uniform quantizer of activations, one range a tensor, fixed by calibration."""

    dynamic = False

    def __init__(self, low: float, high: float, bits: int):
        super().__init__()
        self.bits = bits
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return uniform(x, self.low.to(x.dtype), self.high.to(x.dtype), self.bits)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, low={self.low.item():.4g}, high={self.high.item():.4g}"


def normalization(x: torch.Tensor, channel_dim: int, post_relu: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """DFSQ's mean and max per image (dim 0) and channel: the normalized value is (x - mean) / max.

    Post-ReLU: mean 0, max|x|. Otherwise max|x - mean| (arXiv 2305.05888, eq. 4 and 5). Both broadcast
    against x; EPS is added to the max.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x  # where EPS would be 0
    dims = [d for d in range(1, x.ndim) if d != channel_dim % x.ndim]
    if not dims:  # (N, C): a single value has no spread, so the image's channels share theirs
        mean, scale = normalization(x[..., None], 0, post_relu)
        return mean[..., 0].expand_as(x), scale[..., 0].expand_as(x)
    high, low = x.amax(dims, keepdim=True), x.amin(dims, keepdim=True)
    if post_relu:
        return torch.zeros_like(high), torch.maximum(high, -low) + EPS
    mean = x.mean(dims, keepdim=True)
    return mean, torch.maximum(high - mean, mean - low) + EPS


class SubsetQuantizer(nn.Module):
    """DFSQ's quantizer of activations: normalize per image and channel, map to the nearest chosen point.

    points: (C, 2**bits) of a universal set, one row per channel; a single row serves every channel. The
    normalization is recomputed for every input, so a crop is quantized otherwise than the whole image.
    """

    dynamic = True

    def __init__(self, points: np.ndarray, step: float, post_relu: bool, bits: int, channel_dim: int):
        super().__init__()
        self.bits, self.post_relu, self.channel_dim = bits, post_relu, channel_dim
        self.steps_per_unit = round(1 / step)
        points = torch.from_numpy(np.sort(np.asarray(points, dtype=np.float64), axis=1))
        self.register_buffer("points", points)
        self.register_buffer("codes", nearest_codes(points, self.steps_per_unit), persistent=False)
        self.register_load_state_dict_post_hook(_follow_points)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, scale = normalization(x.detach(), self.channel_dim, self.post_relu)
        levels = self.points.to(mean.dtype)
        return nearest_points(x, mean, scale, self.codes, levels, self.channel_dim).to(x.dtype)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, channels={len(self.points)}, post_relu={self.post_relu}"


def _follow_points(quantizer: SubsetQuantizer, keys: object) -> None:
    """After other points were loaded, look them up."""
    quantizer.codes = nearest_codes(quantizer.points, quantizer.steps_per_unit)


def nearest_codes(points: torch.Tensor, steps_per_unit: int) -> torch.Tensor:
    """Index of the nearest of sorted `points` (C, k <= 256) for every half-grid cell -> (C, 4/step) uint8.

    Cells are (low, high], so that a midpoint goes to the lower point.
    """
    middles = (points[:, 1:] + points[:, :-1]) / 2
    # Midpoints lie on cell edges: rounding to whole cells removes float64's error.
    edges = torch.round((middles + 1) * 2 * steps_per_unit)
    cells = torch.arange(1, 4 * steps_per_unit + 1, dtype=torch.float64, device=points.device)
    return torch.searchsorted(edges, cells.expand(len(points), -1).contiguous()).to(torch.uint8)


def moments_of(x: torch.Tensor, moments: Moments, channel_dim: int, post_relu: bool) -> None:
    """Add the normalized activations of a batch to `moments`."""
    mean, scale = normalization(x, channel_dim, post_relu)
    # Rounding may push the extreme value a last digit beyond 1.
    moments.update(((x - mean) / scale).clamp_(-1, 1), channel_dim)
