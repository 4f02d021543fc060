"""Normalize, map to the nearest point by table, and scale back, in one pass over the data."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit

from core.normalization import EPS, block_normalization, spread
from core.parallel import over_rows


class Replace(torch.autograd.Function):
    """`value` in the place of x; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, x, value):
        return value

    @staticmethod
    def backward(ctx, grad):
        return grad, None


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
    _check_channels(x, codes, channel_dim)
    look_up = _compiled if _is_compiled(x) else reference
    return Replace.apply(x, look_up(x.detach(), mean, scale, codes, levels, channel_dim))


def nearest_points_in_blocks(
    x: torch.Tensor, size: tuple[int, int], codes: torch.Tensor, levels: torch.Tensor
) -> torch.Tensor:
    """The same for images (..., C, H, W), each block of `size` pixels by `block_normalization`."""
    _check_channels(x, codes, -3)
    look_up = _compiled_in_blocks if _is_compiled(x) else reference_in_blocks
    return Replace.apply(x, look_up(x.detach(), size, codes, levels))


def _is_compiled(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32


def _check_channels(x: torch.Tensor, codes: torch.Tensor, channel_dim: int) -> None:
    n_channels = x.shape[channel_dim]
    if len(codes) not in (1, n_channels):
        raise ValueError(
            f"the points are for {len(codes)} channels, the input {tuple(x.shape)} has {n_channels}"
        )


def reference(x, mean, scale, codes, levels, channel_dim):
    """The same by tensor operations, on any device and dtype."""
    half = codes.shape[1] // 2
    normalized = ((x - mean) / scale).double()
    edge = torch.ceil(normalized * half).clamp_(1 - half, half).nan_to_num_(1 - half)
    cell = edge.long() + (half - 1)
    shape = [-1 if d == channel_dim % x.ndim else 1 for d in range(x.ndim)]
    channel = (torch.arange(x.shape[channel_dim], device=x.device) % len(codes)).view(shape)
    return levels[channel, codes[channel, cell].long()] * scale + mean


def reference_in_blocks(x, size, codes, levels):
    """`nearest_points_in_blocks` by tensor operations, on any device and dtype."""
    middle, scale = (spread(part, size, x) for part in block_normalization(x, size))
    return reference(x, middle, scale, codes, levels, -3)


def _compiled(x, mean, scale, codes, levels, channel_dim):
    dim = channel_dim % x.ndim
    n_images, n_channels = (x.shape[0] if dim else 1), x.shape[dim]
    outer, inner = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    out = torch.empty(outer * n_channels, inner)
    if x.numel():
        mean, scale = (part.expand(x.shape[0], *part.shape[1:]) for part in (mean, scale))
        over_rows(
            _look_up,
            outer * n_channels,
            x.contiguous().view(out.shape).numpy(),
            mean.reshape(n_images, n_channels).numpy(),
            scale.reshape(n_images, n_channels).numpy(),
            codes.numpy(),
            levels.numpy(),
            outer // n_images,
            out.numpy(),
        )
    return out.view(x.shape)


@njit(nogil=True, cache=True, error_model="numpy")
def _cell(x, mean, scale, half):
    """Index of the half-grid cell of a normalized value; beyond the table, and for NaN, one of its ends."""
    # Python's error model would test each scale for 0, and no vector instruction could do the division.
    # In float64 the product is exact, so a value at a midpoint is recognised.
    edge = np.ceil(np.float64((x - mean) / scale) * half)
    edge = edge if edge > 1 - half else 1 - half
    return np.int32(edge if edge < half else half) + (half - 1)


@njit(nogil=True, cache=True)
def _look_up(start, stop, x, mean, scale, codes, levels, rows_per_image, out):
    n_channels, half = mean.shape[1], codes.shape[1] // 2
    at_once = 1024
    cells = np.empty(at_once, np.int32)
    for row in range(start, stop):
        image, channel = row // n_channels // rows_per_image, row % n_channels
        own = channel if codes.shape[0] > 1 else 0
        m, s = mean[image, channel], scale[image, channel]
        for first in range(0, x.shape[1], at_once):
            part, result = x[row, first : first + at_once], out[row, first : first + at_once]
            # Two loops: the arithmetic of the first goes into vector instructions, looking up does not.
            for i in range(len(part)):
                cells[i] = _cell(part[i], m, s, half)
            for i in range(len(part)):
                result[i] = levels[own, codes[own, np.uint32(cells[i])]] * s + m


def _compiled_in_blocks(x, size, codes, levels):
    out = torch.empty(math.prod(x.shape[:-2]), *x.shape[-2:])
    if x.numel():
        over_rows(
            _look_up_in_blocks,
            len(out),
            x.contiguous().view(out.shape).numpy(),
            x.shape[-3],
            size[0],
            size[1],
            codes.numpy(),
            levels.numpy(),
            out.numpy(),
        )
    return out.view(x.shape)


@njit(nogil=True, cache=True)
def _look_up_in_blocks(start, stop, x, n_channels, height, width, codes, levels, out):
    half, n = codes.shape[1] // 2, x.shape[2]
    cells = np.empty(n, np.int32)
    low, high = np.empty(n, np.float32), np.empty(n, np.float32)
    for row in range(start, stop):
        own = row % n_channels if codes.shape[0] > 1 else 0
        for top in range(0, x.shape[1], height):
            bottom = min(top + height, x.shape[1])
            _ranges(x[row, top:bottom], width, low, high)
            middle, scale = low, high  # of each pixel's block
            for y in range(top, bottom):
                part, result = x[row, y], out[row, y]
                for i in range(n):
                    cells[i] = _cell(part[i], middle[i], scale[i], half)
                for i in range(n):
                    result[i] = levels[own, codes[own, np.uint32(cells[i])]]
                for i in range(n):
                    result[i] = result[i] * scale[i] + middle[i]


@njit(nogil=True, cache=True)
def _ranges(x, width, low, high):
    """`block_normalization` of a row of blocks x (height, W): the middles into low, the scales into high."""
    half, eps = np.float32(0.5), np.float32(EPS)
    low[:] = x[0]
    high[:] = x[0]
    for y in range(1, x.shape[0]):
        for i in range(x.shape[1]):
            v = x[y, i]
            low[i] = v if v < low[i] or v != v else low[i]  # once NaN it stays so
            high[i] = v if v > high[i] or v != v else high[i]
    for first in range(0, x.shape[1], width):
        stop = min(first + width, x.shape[1])
        a, b = low[first], high[first]
        for i in range(first + 1, stop):
            a = low[i] if low[i] < a or low[i] != low[i] else a
            b = high[i] if high[i] > b or high[i] != high[i] else b
        low[first:stop] = a * half + b * half
        high[first:stop] = b * half - a * half + eps
