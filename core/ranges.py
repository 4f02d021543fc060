"""Range estimation for uniform quantizers: values -> (low, high)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numba import njit

from core.parallel import over_rows

PERCENTILES = (0.1, 99.9)
JOINT_STEPS = 100  # of 2DQuant's bound search
COARSE = 24  # ends tried between lowest and highest value before the search narrows
BINS = 4096


def minmax(values: torch.Tensor, bits: int = 8) -> tuple[float, float]:
    """Lowest and highest value."""
    low, high = values.aminmax()
    return float(low), float(high)


def percentile(values: torch.Tensor, bits: int = 8) -> tuple[float, float]:
    """The 0.1th and 99.9th percentile, linearly interpolated."""
    low, high = np.percentile(values.cpu().numpy(), PERCENTILES)
    return float(low), float(high)


def mse(values: torch.Tensor, bits: int = 8) -> tuple[float, float]:
    """The range whose `2**bits` uniform levels have the lowest squared error: both ends are searched."""
    return _one(values, bits, joint=False)


def bound_search(values: torch.Tensor, bits: int = 8) -> tuple[float, float]:
    """2DQuant's first stage, the distribution-oriented bound initialization (arXiv 2406.06649, alg. 1).

    A distribution that reaches below 0 shrinks from both ends at once, one that does not from above
    alone; the lowest squared error of 100 steps.
    """
    return _one(values, bits, joint=True)


RANGES: dict[str, Callable[[torch.Tensor, int], tuple[float, float]]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "2dquant": bound_search,
}


def _one(values: torch.Tensor, bits: int, joint: bool) -> tuple[float, float]:
    rows = values.detach().double().cpu().numpy().reshape(1, -1)
    low, high = search_ranges(rows, np.ones_like(rows), bits, joint)
    return float(low[0]), float(high[0])


def search_ranges(
    values: np.ndarray, weights: np.ndarray, bits: int, joint: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high (R,) of each row of `values` (R, n), every value's squared error times its weight.

    joint: both ends shrink together (2DQuant); otherwise each end is searched by itself.
    """
    low, high = np.empty(len(values)), np.empty(len(values))
    over_rows(_search, len(values), values, weights, 2**bits - 1, joint, low, high)
    return low, high


class Histogram:
    """Count and sum of the values of each row in even bins over [-limit, limit], from batches.

    The limit doubles, and bins merge in pairs, when a value lies beyond it: at least a quarter of the bins
    span what was seen, whatever the order of the batches.
    """

    def __init__(self, n_rows: int):
        self.limit = 0.0
        self.count, self.sum = np.zeros((n_rows, BINS)), np.zeros((n_rows, BINS))

    def update(self, rows: torch.Tensor) -> None:
        """Add the values of (R, n)."""
        largest = float(rows.abs().max())
        if largest > self.limit:
            self._widen(2.0 ** np.ceil(np.log2(largest)))
        if self.limit:
            x = rows.detach().float().cpu().numpy()
            over_rows(_count, len(x), x, BINS / 2 / self.limit, self.count, self.sum)
        else:  # nothing but zeros so far
            self.count[:, BINS // 2] += rows.shape[1]

    def _widen(self, limit: float) -> None:
        while self.limit and self.limit < limit:
            for table in (self.count, self.sum):
                merged = table.reshape(len(table), BINS // 2, 2).sum(2)
                table[:] = 0
                table[:, BINS // 4 : 3 * BINS // 4] = merged
            self.limit *= 2
        self.limit = max(self.limit, limit)

    def merge(self, other: Histogram) -> None:
        """Add what `other` counted, which is left as it is; ValueError if it has another number of rows."""
        if other.count.shape != self.count.shape:
            raise ValueError(
                f"cannot merge a histogram of {len(other.count)} rows into one of {len(self.count)}"
            )
        # Limits are powers of two, so that bins always fall together.
        limit, other = max(self.limit, other.limit), copy.deepcopy(other)
        self._widen(limit)
        other._widen(limit)
        self.count += other.count
        self.sum += other.sum

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean of each bin and its count, both (R, bins); an empty bin counts nothing."""
        return np.divide(self.sum, self.count, out=np.zeros_like(self.sum), where=self.count > 0), self.count


@njit(nogil=True, cache=True)
def _count(start, stop, x, bins_per_unit, count, total):
    n_bins = count.shape[1]
    for row in range(start, stop):
        for i in range(x.shape[1]):
            value = np.float64(x[row, i])
            place = int(np.floor(value * bins_per_unit)) + n_bins // 2
            place = min(max(place, 0), n_bins - 1)
            count[row, place] += 1.0
            total[row, place] += value


@njit(nogil=True, cache=True)
def _error(values, weights, low, high, n_steps):
    """Weighted squared error of the uniform levels low, low + step, ..., high."""
    step = (high - low) / n_steps
    total = 0.0
    for i in range(len(values)):
        x = min(max(values[i], low), high)
        q = low + np.rint((x - low) / step) * step if step > 0 else low
        total += weights[i] * (values[i] - q) ** 2
    return total


@njit(nogil=True, cache=True)
def _search(start, stop, all_values, all_weights, n_steps, joint, lows, highs):
    for row in range(start, stop):
        present = np.nonzero(all_weights[row])[0]
        values, weights = all_values[row][present], all_weights[row][present]
        if len(values) == 0:
            lows[row] = highs[row] = 0.0
            continue
        low, high = values.min(), values.max()
        width, one_sided = high - low, low >= 0.0
        best = _error(values, weights, low, high, n_steps)
        best_low, best_high = low, high
        for i in range(1, JOINT_STEPS):
            cut = width * i / (JOINT_STEPS if one_sided else 2 * JOINT_STEPS)
            a, b = (low, high - cut) if one_sided else (low + cut, high - cut)
            error = _error(values, weights, a, b, n_steps)
            if error < best:
                best, best_low, best_high = error, a, b
        if not joint:  # a coarse look at all pairs of ends, so that no distant optimum is missed
            for i in range(COARSE):
                for j in range(i + 1, COARSE + 1):
                    a, b = low + width * i / COARSE, low + width * j / COARSE
                    error = _error(values, weights, a, b, n_steps)
                    if error < best:
                        best, best_low, best_high = error, a, b
        radius = 0.0 if joint else width / COARSE
        while radius > 1e-3 * width:
            # One end at a time, on ever finer grids around the best so far.
            for end in range(2):
                centre = best_high if end else best_low
                for i in range(-6, 7):
                    moved = centre + radius * i / 6
                    a, b = (best_low, moved) if end else (moved, best_high)
                    if a < b:
                        error = _error(values, weights, a, b, n_steps)
                        if error < best:
                            best, best_low, best_high = error, a, b
            radius /= 2
        lows[row], highs[row] = best_low, best_high
