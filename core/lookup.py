"""Normalize, map to the nearest point by table, and scale back, in one pass over the data."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit

from core.parallel import over_rows


class _NearestPoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mean, scale, table, channel_dim, cells_per_unit):
        if x.device.type == "cpu" and x.dtype == torch.float32:
            return _compiled(x, mean, scale, table, channel_dim, cells_per_unit)
        return reference(x, mean, scale, table, channel_dim, cells_per_unit)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None, None, None, None


def nearest_points(
    x: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    table: torch.Tensor,
    channel_dim: int,
    cells_per_unit: int,
) -> torch.Tensor:
    """Q((x - mean) / scale) * scale + mean, the gradient passing straight through.

    mean, scale: of x's rank, broadcast over all dims but the first and the channels. table: (C or 1, cells)
    the nearest point of each half-grid cell (low, high] of [-1, 1].
    """
    return _NearestPoints.apply(x, mean, scale, table, channel_dim, cells_per_unit)


def reference(x, mean, scale, table, channel_dim, cells_per_unit):
    """The same by tensor operations, on any device and dtype."""
    normalized = ((x - mean) / scale).double()
    cell = torch.ceil(normalized * cells_per_unit).long() + table.shape[1] // 2 - 1
    cell = cell.clamp_(0, table.shape[1] - 1)
    channels = torch.arange(x.shape[channel_dim], device=x.device) % len(table)
    shape = [-1 if d == channel_dim % x.ndim else 1 for d in range(x.ndim)]
    return table.to(x.dtype)[channels.view(shape), cell] * scale + mean


def _compiled(x, mean, scale, table, channel_dim, cells_per_unit):
    dim = channel_dim % x.ndim
    n_images, n_channels = (x.shape[0] if dim else 1), x.shape[dim]
    outer, inner = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    out = torch.empty(outer * n_channels, inner)
    if x.numel() == 0:
        return out.view(x.shape)
    over_rows(
        _look_up,
        outer * n_channels,
        x.detach().contiguous().view(outer * n_channels, inner).numpy(),
        mean.expand(n_images, *mean.shape[1:]).reshape(n_images, n_channels).numpy(),
        scale.expand(n_images, *scale.shape[1:]).reshape(n_images, n_channels).numpy(),
        table.numpy(),
        outer // n_images,
        float(cells_per_unit),
        out.numpy(),
    )
    return out.view(x.shape)


@njit(nogil=True, cache=True)
def _look_up(start, stop, x, mean, scale, table, rows_per_image, cells_per_unit, out):
    n_channels, last_cell = mean.shape[1], table.shape[1] - 1
    for row in range(start, stop):
        image, channel = row // n_channels // rows_per_image, row % n_channels
        m, s = mean[image, channel], scale[image, channel]
        levels = table[channel if table.shape[0] > 1 else 0]
        for i in range(x.shape[1]):
            normalized = (x[row, i] - m) / s
            # In float64 the product is exact, so a value at a midpoint is recognised.
            cell = int(np.ceil(np.float64(normalized) * cells_per_unit)) + table.shape[1] // 2 - 1
            out[row, i] = levels[min(max(cell, 0), last_cell)] * s + m
