"""Weights as rows, one per output channel, and the levels that each row may take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from core.point_selection import select_points
from core.quantizers import EPS
from core.ranges import search_ranges
from core.universal_set import UniversalSet


def weight_rows(module: nn.Module) -> torch.Tensor:
    """The weight of a Conv2d, ConvTranspose2d or Linear as (out_channels, fan_in)."""
    weight = module.weight.detach()
    if isinstance(module, nn.ConvTranspose2d):  # (in, out / groups, ...), groups along `in`
        groups = module.groups
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)


def from_rows(rows: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """The inverse of `weight_rows`: rows in the shape of the module's weight."""
    if isinstance(module, nn.ConvTranspose2d):
        inputs, outputs, *kernel = module.weight.shape
        by_group = rows.view(module.groups, outputs, inputs // module.groups, *kernel)
        return by_group.transpose(1, 2).reshape(module.weight.shape)
    return rows.view(module.weight.shape)


def nearest(rows: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """The nearest of sorted `levels` (R, k) to each value of `rows` (R, n); of two equally near the lower."""
    middles = (levels[:, 1:] + levels[:, :-1]) / 2
    return levels.gather(1, torch.searchsorted(middles, rows.contiguous()))


def _spaced(low: torch.Tensor, high: torch.Tensor, bits: int) -> torch.Tensor:
    """Uniform levels (R, 2**bits) from low to high (R,), the ends exact."""
    share = torch.arange(2**bits, dtype=low.dtype, device=low.device) / (2**bits - 1)
    return torch.lerp(low[:, None], high[:, None], share)


def minmax(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Uniform from each row's lowest to its highest weight (DFSQ's rule)."""
    return _spaced(*rows.aminmax(dim=1), bits)


def mse(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Uniform, over the range with the lowest squared error."""
    return _searched(rows, bits, joint=False)


def bound_search(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Uniform, over the range that 2DQuant's bound search finds (`core.ranges.bound_search`)."""
    return _searched(rows, bits, joint=True)


def _searched(rows: torch.Tensor, bits: int, joint: bool) -> torch.Tensor:
    values = rows.double().cpu().numpy()
    ends = search_ranges(values, np.ones_like(values), bits, joint)
    return _spaced(*(torch.from_numpy(end).to(rows) for end in ends), bits)


def subset(rows: torch.Tensor, bits: int, universal_set: UniversalSet) -> torch.Tensor:
    """The best points of the universal set for each row, normalized as signed activations are."""
    mean = rows.mean(1, keepdim=True)
    scale = (rows - mean).abs().amax(1, keepdim=True) + EPS
    points = select_points(((rows - mean) / scale).double(), universal_set.points, 2**bits)
    return torch.from_numpy(points).to(rows) * scale + mean


# name -> levels (R, 2**bits) of weight rows (R, n), sorted
WEIGHTS: dict[str, Callable[[torch.Tensor, int, UniversalSet], torch.Tensor]] = {
    "minmax": minmax,
    "mse": mse,
    "2dquant": bound_search,
    "subset": subset,
}
