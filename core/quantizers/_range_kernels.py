"""Compiled loops of the range searches (`core.quantizers.ranges`) and of the histogram
(`core.quantizers.histogram`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

BOUND_STEPS = 100  # of 2DQuant's bound search
COARSE = 24  # ends tried between lowest and highest value before the search narrows


@njit(nogil=True, cache=True)
def _error(values, weights, low, high, n_steps):
    """Return the weighted squared error of the uniform levels low, low + step, ..., high."""
    step = (high - low) / n_steps
    total = 0.0
    for i in range(len(values)):
        x = min(max(values[i], low), high)
        q = low + np.rint((x - low) / step) * step if step > 0 else low
        total += weights[i] * (values[i] - q) ** 2
    return total


@njit(nogil=True, cache=True)
def _present(values, weights):
    kept, own, weight = 0, np.empty(len(values)), np.empty(len(values))
    for i in range(len(values)):
        if weights[i] != 0:
            own[kept], weight[kept] = values[i], weights[i]
            kept += 1
    return own[:kept], weight[:kept]


@njit(nogil=True, cache=True)
def bound_search(start, stop, all_values, all_weights, n_steps, one_sided, lows, highs):
    """Shrink the ranges in lows and highs to the best of BOUND_STEPS steps, the first if several are."""
    for row in range(start, stop):
        values, weights = _present(all_values[row], all_weights[row])
        low, high = lows[row], highs[row]
        step = (high - low) / (BOUND_STEPS if one_sided[row] else 2 * BOUND_STEPS)
        best = np.inf
        for i in range(BOUND_STEPS):
            a, b = (low if one_sided[row] else low + i * step), high - i * step
            error = _error(values, weights, a, b, n_steps)
            if error < best:
                best, lows[row], highs[row] = error, a, b


@njit(nogil=True, cache=True)
def search(start, stop, all_values, all_weights, n_steps, lows, highs):
    """Find the range of the lowest squared error.

    First 2DQuant's steps, then a coarse grid of all pairs of ends, then ever finer grids around the best.
    """
    for row in range(start, stop):
        values, weights = _present(all_values[row], all_weights[row])
        if len(values) == 0:
            lows[row] = highs[row] = 0.0
            continue
        low, high = values.min(), values.max()
        width, one_sided = high - low, low >= 0.0
        best = _error(values, weights, low, high, n_steps)
        best_low, best_high = low, high
        for i in range(1, BOUND_STEPS):
            cut = width * i / (BOUND_STEPS if one_sided else 2 * BOUND_STEPS)
            a, b = (low, high - cut) if one_sided else (low + cut, high - cut)
            error = _error(values, weights, a, b, n_steps)
            if error < best:
                best, best_low, best_high = error, a, b
        for i in range(COARSE):  # so that no distant optimum is missed
            for j in range(i + 1, COARSE + 1):
                a, b = low + width * i / COARSE, low + width * j / COARSE
                error = _error(values, weights, a, b, n_steps)
                if error < best:
                    best, best_low, best_high = error, a, b
        radius = width / COARSE
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


@njit(nogil=True, cache=True)
def count(start, stop, x, bins_per_unit, counts, totals):
    """Add each value of the rows x (R, n) to the count and sum of its bin; bins are symmetric around 0."""
    n_bins = counts.shape[1]
    for row in range(start, stop):
        for i in range(x.shape[1]):
            value = np.float64(x[row, i])
            place = int(np.floor(value * bins_per_unit)) + n_bins // 2
            place = min(max(place, 0), n_bins - 1)
            counts[row, place] += 1.0
            totals[row, place] += value
