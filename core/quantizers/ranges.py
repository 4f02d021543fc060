"""Estimate the ends of uniform levels (`core.quantizers.uniform`) from weighted values, row by row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from core.quantizers import _range_kernels as kernels
from core.utils.parallel import over_rows

PERCENTILES = (0.1, 99.9)
BREAK_POINT = 99  # percentile of magnitudes beyond which they count as outliers (arXiv 2511.00682)
GELU_LOWEST = -0.17  # the minimum of GELU
ONE_SIDED = 0.1  # the low end of a GELU's output is at most this share of its high one

Ends = tuple[np.ndarray, np.ndarray]


def minmax(values: np.ndarray, weights: np.ndarray, bits: int) -> Ends:
    """Return the lowest and highest value of each row."""
    present = weights > 0
    low, high = np.where(present, values, np.inf).min(1), np.where(present, values, -np.inf).max(1)
    return np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)


def percentile(values: np.ndarray, weights: np.ndarray, bits: int) -> Ends:
    """Return the 0.1th and 99.9th percentile of each row, linearly interpolated."""
    low, high = _percentiles(values, weights, PERCENTILES)
    return low, high


def break_points(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the magnitude (R,) beyond which the largest hundredth of each row's values lies."""
    return _percentiles(np.abs(values), weights, (BREAK_POINT,))[0]


def _percentiles(values: np.ndarray, weights: np.ndarray, percents: tuple[float, ...]) -> np.ndarray:
    """Return the percentiles (P, R) of weighted rows."""
    ends = np.zeros((len(percents), len(values)))
    for row, (own, weight) in enumerate(zip(values, weights, strict=True)):
        order = np.argsort(own, kind="stable")
        own, weight = own[order][weight[order] > 0], weight[order][weight[order] > 0]
        if len(own):
            rank = np.cumsum(weight) - (weight + 1) / 2  # the middle rank of each value's copies
            ends[:, row] = np.interp(np.array(percents) / 100 * (weight.sum() - 1), rank, own)
    return ends


def mse(values: np.ndarray, weights: np.ndarray, bits: int) -> Ends:
    """Return the range of each row whose `2**bits` uniform levels have the lowest squared error."""
    low, high = np.empty(len(values)), np.empty(len(values))
    over_rows(kernels.search, len(values), values, weights, 2**bits - 1, low, high)
    return low, high


def bound_search(values: np.ndarray, weights: np.ndarray, bits: int) -> Ends:
    """Return the bounds of 2DQuant's first stage (arXiv 2406.06649, alg. 1, and the authors' code).

    The lowest squared error of 100 steps that shrink both ends equally. For values that look exponential,
    only the upper end shrinks (sec. 3.2): values never below 0 (ReLU, softmax), or like GELU's output. (The
    released code has this option but does not use it.)
    """
    low, high = minmax(values, weights, bits)
    one_sided = is_one_sided(low, high)
    over_rows(kernels.bound_search, len(values), values, weights, 2**bits - 1, one_sided, low, high)
    return low, high


def is_one_sided(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return whether a range looks like that of ReLU, softmax or GELU rather than of signed values."""
    return (low >= 0) | ((low >= GELU_LOWEST) & (-low <= ONE_SIDED * high))


# name -> function (values (R, n), weights (R, n), bits) that returns low and high (R,)
RANGES: dict[str, Callable[[np.ndarray, np.ndarray, int], Ends]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "2dquant": bound_search,
}


def range_of(values: torch.Tensor, ranges: str, bits: int = 8) -> tuple[float, float]:
    """Return low and high of all `values` together by one of RANGES."""
    rows = values.detach().double().cpu().numpy().reshape(1, -1)
    low, high = RANGES[ranges](rows, np.ones_like(rows), bits)
    return float(low[0]), float(high[0])
