"""Normalize, map to the nearest point by table, and scale back, in one pass over the data."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit

from core.parallel import over_rows


class _NearestPoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mean, scale, codes, levels, channel_dim):
        if x.device.type == "cpu" and x.dtype == torch.float32:
            return _compiled(x, mean, scale, codes, levels, channel_dim)
        return reference(x, mean, scale, codes, levels, channel_dim)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None, None, None, None


def nearest_points(
    x: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    codes: torch.Tensor,
    levels: torch.Tensor,
    channel_dim: int,
) -> torch.Tensor:
    """Q((x - mean) / scale) * scale + mean, the gradient passing straight through.

    mean, scale: of x's rank, broadcast over all dims but the first and the channels. levels (C or 1, k):
    the points. codes (C or 1, cells) uint8: which of them is nearest to each half-grid cell (low, high] of
    [-1, 1]. ValueError if x has another number of channels.
    """
    n_channels = x.shape[channel_dim]
    if len(codes) not in (1, n_channels):
        raise ValueError(
            f"the points are for {len(codes)} channels, the input {tuple(x.shape)} has {n_channels}"
        )
    return _NearestPoints.apply(x, mean, scale, codes, levels, channel_dim)


def reference(x, mean, scale, codes, levels, channel_dim):
    """The same by tensor operations, on any device and dtype."""
    cells = codes.shape[1]
    normalized = ((x - mean) / scale).double()
    cell = (torch.ceil(normalized * (cells // 2)).long() + (cells // 2 - 1)).clamp_(0, cells - 1)
    shape = [-1 if d == channel_dim % x.ndim else 1 for d in range(x.ndim)]
    channel = (torch.arange(x.shape[channel_dim], device=x.device) % len(codes)).view(shape)
    return levels[channel, codes[channel, cell].long()] * scale + mean


def _compiled(x, mean, scale, codes, levels, channel_dim):
    dim = channel_dim % x.ndim
    n_images, n_channels = (x.shape[0] if dim else 1), x.shape[dim]
    outer, inner = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    out = torch.empty(outer * n_channels, inner)
    if x.numel():
        over_rows(
            _look_up,
            outer * n_channels,
            x.detach().contiguous().view(outer * n_channels, inner).numpy(),
            mean.expand(x.shape[0], *mean.shape[1:]).reshape(n_images, n_channels).numpy(),
            scale.expand(x.shape[0], *scale.shape[1:]).reshape(n_images, n_channels).numpy(),
            codes.numpy(),
            levels.numpy(),
            outer // n_images,
            out.numpy(),
        )
    return out.view(x.shape)


@njit(nogil=True, cache=True)
def _look_up(start, stop, x, mean, scale, codes, levels, rows_per_image, out):
    n_channels, cells = mean.shape[1], codes.shape[1]
    for row in range(start, stop):
        image, channel = row // n_channels // rows_per_image, row % n_channels
        m, s = mean[image, channel], scale[image, channel]
        own = channel if codes.shape[0] > 1 else 0
        values = levels[own] * s + m
        for i in range(x.shape[1]):
            normalized = (x[row, i] - m) / s
            # In float64 the product is exact, so a value at a midpoint is recognised.
            cell = int(np.ceil(np.float64(normalized) * (cells // 2))) + cells // 2 - 1
            out[row, i] = values[codes[own, min(max(cell, 0), cells - 1)]]
