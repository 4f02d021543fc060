"""Weights as rows, one per output channel, and the levels that each row may take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from core.points.selection import select_points
from core.points.universal_set import UniversalSet
from core.quantizers.levels import apot_levels, daq_step
from core.quantizers.normalization import EPS
from core.quantizers.ranges import bound_search as search_bounds
from core.quantizers.ranges import mse as search_range

SIDE_BITS = 16  # bits of each number stored besides the codes: scale, zero point, mean


def weight_rows(module: nn.Module) -> torch.Tensor:
    """Return the weight of a Conv2d, ConvTranspose2d or Linear as (out_channels, fan_in)."""
    return as_rows(module.weight.detach(), module)


def as_rows(weight: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """Reshape a tensor of the shape of the module's weight to (out_channels, fan_in)."""
    if isinstance(module, nn.ConvTranspose2d):  # (in, out / groups, ...), groups along `in`
        groups = module.groups
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)


def from_rows(rows: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """Reshape rows to the shape of the module's weight: the inverse of `weight_rows`."""
    if isinstance(module, nn.ConvTranspose2d):
        inputs, outputs, *kernel = module.weight.shape
        by_group = rows.view(module.groups, outputs, inputs // module.groups, *kernel)
        return by_group.transpose(1, 2).reshape(module.weight.shape)
    return rows.view(module.weight.shape)


def nearest(rows: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Map each value of `rows` (R, n) to the nearest of sorted `levels` (R, k); ties go to the lower."""
    middles = (levels[:, 1:] + levels[:, :-1]) / 2
    return levels.gather(1, torch.searchsorted(middles.contiguous(), rows.contiguous()))


def _spaced(low: torch.Tensor, high: torch.Tensor, bits: int) -> torch.Tensor:
    """Return uniform levels (R, 2**bits) from low to high (R,), the ends exact."""
    share = torch.arange(2**bits, dtype=torch.float64, device=low.device) / (2**bits - 1)
    # Rounded once, so that they lie on a line as closely as their dtype can tell: `core.checkpoints.packed`.
    return torch.lerp(low[:, None].double(), high[:, None].double(), share).to(low.dtype)


def minmax(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Return whole multiples of each row's step, so that 0 is a level of every row with both signs.

    The standard affine rule with an integer zero point, which DFSQ's authors use: s = (max - min) / (2^b - 1)
    and levels (round(min / s) + i) s, i = 0 ... 2^b - 1. The levels of a constant row are that constant.
    """
    low, high = rows.aminmax(dim=1)
    step = (high - low) / (2**bits - 1)
    constant = step == 0
    first = torch.round(low / torch.where(constant, torch.ones_like(step), step))
    index = torch.arange(2**bits, dtype=rows.dtype, device=rows.device)
    return torch.where(constant[:, None], low[:, None], (first[:, None] + index) * step[:, None])


def mse(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Return uniform levels over each row's range of the lowest squared error."""
    values = rows.double().cpu().numpy()
    ends = search_range(values, np.ones_like(values), bits)
    return _spaced(*(torch.from_numpy(end).to(rows) for end in ends), bits)


def bound_search(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Return uniform levels over the bounds of 2DQuant's first stage, one pair for the whole tensor."""
    values = rows.double().cpu().numpy().reshape(1, -1)
    ends = search_bounds(values, np.ones_like(values), bits)
    low, high = (torch.from_numpy(end).to(rows).expand(len(rows)) for end in ends)
    return _spaced(low, high, bits)


def symmetric(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Return PAMS's 2**bits - 1 levels i m / Q, i = -Q ... Q, with m the tensor's largest magnitude.

    Q = 2^(b-1) - 1 (arXiv 2011.04212, eq. 1 and 2).
    """
    last = 2 ** (bits - 1) - 1
    index = torch.arange(-last, last + 1, dtype=rows.dtype, device=rows.device)
    return (index * (rows.abs().max() + EPS) / last).expand(len(rows), -1).contiguous()


def gaussian(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Return DAQ's levels (i + 1/2) h around 0; h is DAQ's step times the tensor's standard deviation.

    (arXiv 2012.11230, and the authors' code.)
    """
    half = 2 ** (bits - 1)
    index = torch.arange(-half, half, dtype=rows.dtype, device=rows.device) + 0.5
    deviation = rows.std() if rows.numel() > 1 else torch.zeros_like(rows[0, 0])
    return (index * daq_step(bits) * deviation).expand(len(rows), -1).contiguous()


def apot(rows: torch.Tensor, bits: int, universal_set: UniversalSet | None = None) -> torch.Tensor:
    """Return APoT's levels for the tensor, normalized by mean and deviation, with the best clip.

    In training APoT keeps the weights normalized and learns the clip (arXiv 1909.13144, sec. 2.2 and 3);
    after training neither is possible, so mean and deviation are put back, and the clip has the lowest
    squared error.
    """
    shape = torch.from_numpy(apot_levels(bits, True)).to(rows)
    mean, deviation = rows.mean(), rows.std() if rows.numel() > 1 else torch.zeros_like(rows[0, 0])
    normalized = (rows - mean) / (deviation + EPS)
    flat, largest = normalized.reshape(1, -1), float(normalized.abs().max())
    clips = largest * np.geomspace(0.05, 1, 200)
    errors = [float((nearest(flat, clip * shape[None]) - flat).square().sum()) for clip in clips]
    clip = clips[int(np.argmin(errors))]
    return (clip * shape * (deviation + EPS) + mean).expand(len(rows), -1).contiguous()


def subset(rows: torch.Tensor, bits: int, universal_set: UniversalSet) -> torch.Tensor:
    """Return the best points of the universal set for each row, normalized as signed activations are."""
    mean = rows.mean(1, keepdim=True)
    scale = (rows - mean).abs().amax(1, keepdim=True) + EPS
    points = select_points(((rows - mean) / scale).double(), universal_set.points, 2**bits)
    return torch.from_numpy(points).to(rows) * scale + mean


class WeightRule(NamedTuple):
    """A rule that gives the weights of a layer their levels, and what it stores besides the codes.

    levels: rows (R, n), bits, set -> levels (R, 2**bits), sorted. by_row: whether each row has its own
    levels, else the whole tensor. numbers: how many numbers of SIDE_BITS they take. codebook: whether the
    levels are stored as points of the universal set too.
    """

    levels: Callable[[torch.Tensor, int, UniversalSet], torch.Tensor]
    by_row: bool = True
    numbers: int = 2
    codebook: bool = False

    def side_bits(self, n_rows: int, bits: int, set_size: int) -> int:
        """Return the bits stored besides the codes of a layer's weights."""
        index = math.ceil(math.log2(set_size)) if self.codebook else 0
        return (n_rows if self.by_row else 1) * (self.numbers * SIDE_BITS + index * 2**bits)


WEIGHTS: dict[str, WeightRule] = {
    "minmax": WeightRule(minmax),
    "mse": WeightRule(mse),
    "2dquant": WeightRule(bound_search, by_row=False),
    "symmetric": WeightRule(symmetric, by_row=False, numbers=1),
    "daq": WeightRule(gaussian, by_row=False, numbers=1),
    "apot": WeightRule(apot, by_row=False),
    "subset": WeightRule(subset, codebook=True),
}
