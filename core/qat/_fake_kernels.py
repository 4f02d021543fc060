"""The compiled backward of `core.qat.fake_quantization` for one range a tensor: x (rows, n), float32."""

from __future__ import annotations

import numpy as np
from numba import njit


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
