"""Levels that are not uniform: powers of two, their sums, the step for a Gaussian; and a quantizer to any.

Each set is normalized: the largest level is 1 (the Gaussian's levels are in standard deviations).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from core.quantizers.lookup import nearest_levels
from core.quantizers.normalization import SIDE_BITS

SCALES = np.geomspace(0.05, 1, 200)  # tried as the outermost level, as a share of the largest value
FINEST_EXPONENT = 30  # levels below 2^-30 make no difference to float32 sums
# Step of the best uniform quantizer of a standard normal, for 0, 1, ... bits (Max, IRE Trans. 1960, tab. II),
# to three digits as in the code of DAQ's authors.
GAUSSIAN_STEPS = (2.0, 1.596, 0.996, 0.586, 0.335, 0.188, 0.104, 0.057, 0.031)


def log2_levels(bits: int, signed: bool) -> np.ndarray:
    """Return 0 and powers of two down from 1, at most `2**bits` levels, sorted.

    Signed: one bit is the sign. (Miyashita et al., Convolutional neural networks using logarithmic data
    representation, arXiv 1603.01025.)
    """
    count = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    powers = 2.0 ** -np.arange(min(count, FINEST_EXPONENT + 1))
    return np.unique(np.concatenate([[0.0], powers, -powers if signed else powers]))


def apot_levels(bits: int, signed: bool) -> np.ndarray:
    """Return additive powers of two, at most `2**bits` levels, sorted.

    Sums of one value from each term (Li et al., arXiv 1909.13144, eq. 5, with k = 2). An even number of bits
    makes n = bits / 2 terms {0, 2^-i, 2^-(i+n), 2^-(i+2n)}, i = 1..n. With an odd number, the remaining bit
    makes an extra term {0, 2^-(2n+1)}, and the last exponent of the other terms is larger by one, as in the
    authors' code. Signed: one bit is the sign.
    """
    n, odd = divmod(bits - 1 if signed else bits, 2)
    terms = [[0.0, 2.0**-i, 2.0 ** -(i + n), 2.0 ** -(i + 2 * n + odd)] for i in range(1, n + 1)]
    if odd:
        terms.append([0.0, 2.0 ** -(2 * n + 1)])
    sums = np.array([sum(choice) for choice in itertools.product(*terms)])
    sums /= sums.max()
    return np.unique(np.concatenate([sums, -sums]) if signed else sums)


def piecewise_levels(low: float, high: float, breakpoint: float, bits: int) -> np.ndarray:
    """Return levels that are dense within the break point and wide beyond, at most `2**bits`, sorted.

    2^(b-1) - 1 points from -breakpoint to breakpoint and 2^(b-2) - 1 on each side from there to the lowest
    and the highest value (arXiv 2511.00682). Where values go beyond the break point on one side alone, as
    after ReLU, each of the two parts has half of the levels, as in the authors' code. The counts are the
    paper's, which b bits can tell apart; the code has twice as many levels, 2^b within and 2^(b-1) on each
    side. At 2 bits 0 alone would be left: use 3 or more.
    """
    below, above = low < -breakpoint, high > breakpoint
    if below and above:
        within, beyond = 2 ** (bits - 1) - 1, 2 ** (bits - 2) - 1
    else:
        within = beyond = 2 ** (bits - 1)
    inside = np.linspace(max(low, -breakpoint), min(high, breakpoint), within)
    parts = [inside]
    if below:
        parts.append(np.linspace(-breakpoint, low, beyond + 1)[1:])
    if above:
        parts.append(np.linspace(breakpoint, high, beyond + 1)[1:])
    return np.unique(np.concatenate(parts))


def daq_step(bits: int) -> float:
    """Return the step of DAQ's levels, in standard deviations: Max's step for one bit less.

    This is how the authors' code has it (arXiv 2012.11230, Cheeun/DAQ-pytorch).
    """
    return GAUSSIAN_STEPS[bits - 1]


# name -> function (bits, signed) that returns levels of a fixed shape; they are scaled to fit the data
SHAPES: dict[str, Callable[[int, bool], np.ndarray]] = {"log2": log2_levels, "apot": apot_levels}


def scaled_levels(
    shape: str, bits: int, signed: np.ndarray, values: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return levels (R, k) of one of SHAPES, scaled for each row to the lowest squared error.

    signed: (R,); values, counts: (R, n).
    """
    rows = []
    for own, weight, below in zip(values, counts, signed, strict=True):
        own, weight = own[weight > 0], weight[weight > 0]
        levels = SHAPES[shape](bits, bool(below))
        scales = np.abs(own).max(initial=0.0) * SCALES
        errors = [_squared_error(own, weight, scale * levels) for scale in scales]
        rows.append(scales[int(np.argmin(errors))] * levels)
    return even_rows(rows)


def even_rows(rows: list[np.ndarray]) -> np.ndarray:
    """Stack rows of levels, the shorter ones filled up with their last level."""
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row)), "edge") for row in rows])


def _squared_error(values: np.ndarray, counts: np.ndarray, levels: np.ndarray) -> float:
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]
    return float((counts * (values - nearest) ** 2).sum())


class LevelQuantizer(nn.Module):
    """A static quantizer of activations to the nearest of sorted levels.

    points: (k,) for every channel, or (C, k) for those at `channel_dim`. stored: bits of the numbers that
    define the levels; by default SIDE_BITS for each level.
    """

    dynamic = False

    def __init__(
        self, points: np.ndarray | torch.Tensor, bits: int, channel_dim: int = 1, stored: int | None = None
    ):
        super().__init__()
        self.bits, self.channel_dim = bits, channel_dim
        self.register_buffer("points", torch.as_tensor(points, dtype=torch.float32))
        self.stored = SIDE_BITS * self.points.numel() if stored is None else stored

    def settings(self) -> dict:
        """Return the arguments of the constructor that are not tensors."""
        return {"bits": self.bits, "channel_dim": self.channel_dim, "stored": self.stored}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the nearest levels, of its shape; the gradient passes straight through."""
        points = self.points.to(x.dtype)
        one = x.new_ones([1] * x.ndim)
        return nearest_levels(
            x, torch.zeros_like(one), one, points.view(-1, points.shape[-1]), self.channel_dim
        )

    def levels(self, channel: int) -> np.ndarray:
        """Return the sorted levels of the channel."""
        points = self.points.double().numpy(force=True)
        return points if points.ndim == 1 else points[channel % len(points)]

    def constants(self) -> int:
        """Return the bits of stored constants."""
        return self.stored

    def side_information(self, x: torch.Tensor) -> int:
        """Return the bits that an input like x needs besides its codes."""
        return self.constants()

    def extra_repr(self) -> str:
        """Return the settings that `print` shows."""
        return f"bits={self.bits}, {self.points.shape[-1]} levels to {self.points[..., -1].mean():.4g}"
