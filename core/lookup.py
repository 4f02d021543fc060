"""Normalize, map to the nearest point by table, and scale back, in one pass over the data."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit

from core.normalization import spread
from core.parallel import over_rows


class _NearestPoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mean, scale, codes, levels, channel_dim, size):
        if x.device.type == "cpu" and x.dtype == torch.float32:
            return _compiled(x, mean, scale, codes, levels, channel_dim, size)
        return reference(x, mean, scale, codes, levels, channel_dim, size)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None, None, None, None, None


def nearest_points(
    x: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    codes: torch.Tensor,
    levels: torch.Tensor,
    channel_dim: int,
    size: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Q((x - mean) / scale) * scale + mean, the gradient passing straight through.

    mean, scale: of x's rank, broadcast over all dims but the first and the channels; or one number a block
    of `size` pixels, (..., rows, columns), of an image (..., C, H, W). levels (C or 1, k):
    the points. codes (C or 1, cells) uint8: which of them is nearest to each half-grid cell (low, high] of
    [-1, 1]. ValueError if x has another number of channels.
    """
    n_channels = x.shape[channel_dim]
    if len(codes) not in (1, n_channels):
        raise ValueError(
            f"the points are for {len(codes)} channels, the input {tuple(x.shape)} has {n_channels}"
        )
    return _NearestPoints.apply(x, mean, scale, codes, levels, channel_dim, size)


def reference(x, mean, scale, codes, levels, channel_dim, size=None):
    """The same by tensor operations, on any device and dtype."""
    if size is not None:
        mean, scale = spread(mean, size, x), spread(scale, size, x)
    half = codes.shape[1] // 2
    normalized = ((x - mean) / scale).double()
    edge = torch.ceil(normalized * half).clamp_(1 - half, half).nan_to_num_(1 - half)
    cell = edge.long() + (half - 1)
    shape = [-1 if d == channel_dim % x.ndim else 1 for d in range(x.ndim)]
    channel = (torch.arange(x.shape[channel_dim], device=x.device) % len(codes)).view(shape)
    return levels[channel, codes[channel, cell].long()] * scale + mean


def _compiled(x, mean, scale, codes, levels, channel_dim, size):
    dim = channel_dim % x.ndim
    n_images, n_channels = (x.shape[0] if dim else 1), x.shape[dim]
    outer, inner = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    if size is None:  # one block a channel
        last = x.shape[-1] if dim < x.ndim - 1 else 1
        plane = size = (inner // max(last, 1), last)
        blocks = (n_images, n_channels, 1, 1)
        mean, scale = (part.expand(x.shape[0], *part.shape[1:]) for part in (mean, scale))
    else:
        plane, blocks = x.shape[-2:], (n_images, n_channels, *mean.shape[-2:])
    out = torch.empty(outer * n_channels, *plane)
    if x.numel():
        over_rows(
            _look_up,
            outer * n_channels,
            x.detach().contiguous().view(out.shape).numpy(),
            mean.reshape(blocks).numpy(),
            scale.reshape(blocks).numpy(),
            size[0],
            size[1],
            codes.numpy(),
            levels.numpy(),
            outer // n_images,
            out.numpy(),
        )
    return out.view(x.shape)


@njit(nogil=True, cache=True)
def _look_up(start, stop, x, mean, scale, height, width, codes, levels, rows_per_image, out):
    n_channels, half = mean.shape[1], codes.shape[1] // 2
    cells = np.empty(width, np.int32)
    for row in range(start, stop):
        image, channel = row // n_channels // rows_per_image, row % n_channels
        own = channel if codes.shape[0] > 1 else 0
        for y in range(x.shape[1]):
            for column in range(mean.shape[3]):
                m, s = mean[image, channel, y // height, column], scale[image, channel, y // height, column]
                first = column * width
                n = min(width, x.shape[2] - first)
                # Two loops: the arithmetic of the first goes into vector instructions, looking up does not.
                for i in range(n):
                    # In float64 the product is exact, so a value at a midpoint is recognised.
                    edge = np.ceil(np.float64((x[row, y, first + i] - m) / s) * half)
                    edge = edge if edge > 1 - half else 1 - half  # NaN too: no index beyond the table
                    cells[i] = np.int32(edge if edge < half else half) + (half - 1)
                for i in range(n):
                    out[row, y, first + i] = levels[own, codes[own, np.uint32(cells[i])]] * s + m
