"""Compiled loops of `core.qat.fake_quantization` for one range a tensor: x (rows, n), float32.

A comparison with NaN is false, so NaN stays NaN: the loss of such a step is not finite, which ends a run.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def levels(start, stop, x, low, step, steps, out):
    """Write each value's level."""
    last = np.float32(steps)
    for row in range(start, stop):
        for i in range(x.shape[1]):
            code = np.rint((x[row, i] - low) / step)
            code = np.float32(0) if code < 0 else code
            code = last if code > last else code
            out[row, i] = code * step + low


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})
def gradients(start, stop, grad, x, quantized, low, high, inside, sums):
    """Write the gradient to x, and for each row the sums of what goes to the lower end, to the upper end, and
    to both by rounding (`sums`, (rows, 3)).
    """
    for row in range(start, stop):
        below = above = rounding = np.float32(0)
        for i in range(x.shape[1]):
            g, value = grad[row, i], x[row, i]
            is_below, is_above = value < low, value > high
            kept = np.float32(0) if is_below | is_above else g
            inside[row, i] = kept
            below += g if is_below else np.float32(0)
            above += g if is_above else np.float32(0)
            rounding += kept * (value - quantized[row, i])
        sums[row, 0], sums[row, 1], sums[row, 2] = below, above, rounding
