"""Compiled quantization of float32 activations, one fused pass over the data each.

Rows are the channels of images, x (rows, n); `error_model="numpy"`, as Python's own would test each divisor
for 0 and no vector instruction could do the division. NaN stays NaN.
"""

from __future__ import annotations

import numpy as np
from numba import njit

EPS = 1e-8  # of `core.quantizers.normalization`
AT_ONCE = 1024  # values that stay in the nearest cache between two loops
FEW_LEVELS = 32  # up to which comparing with every boundary is quicker than searching


@njit(nogil=True, cache=True, error_model="numpy")
def uniform(start, stop, x, low, high, n_steps, out):
    """`core.quantizers.static.uniform` with low and high (rows,)."""
    for row in range(start, stop):
        lowest, highest = low[row], high[row]
        scale = np.float32((highest - lowest) / np.float32(n_steps))
        divisor = scale if scale > 0 else np.float32(1)
        for i in range(x.shape[1]):
            v = x[row, i]
            v = lowest if v < lowest else v
            v = highest if v > highest else v
            out[row, i] = np.rint((v - lowest) / divisor) * scale + lowest


@njit(nogil=True, cache=True, error_model="numpy")
def _cell(x, mean, scale, half):
    """Index of the half-grid cell of a normalized value; beyond the table, and for NaN, one of its ends."""
    # In float64 the product is exact, so a value at a midpoint is recognised.
    edge = np.ceil(np.float64((x - mean) / scale) * half)
    edge = edge if edge > 1 - half else 1 - half
    return np.int32(edge if edge < half else half) + (half - 1)


@njit(nogil=True, cache=True)
def look_up(start, stop, x, mean, scale, codes, levels, rows_per_image, out):
    """The level whose code the cell of each normalized value holds, scaled back."""
    n_channels, half = mean.shape[1], codes.shape[1] // 2
    cells = np.empty(AT_ONCE, np.int32)
    for row in range(start, stop):
        image, channel = row // n_channels // rows_per_image, row % n_channels
        own = channel if codes.shape[0] > 1 else 0
        m, s = mean[image, channel], scale[image, channel]
        for first in range(0, x.shape[1], AT_ONCE):
            part, result = x[row, first : first + AT_ONCE], out[row, first : first + AT_ONCE]
            # Two loops: the arithmetic of the first goes into vector instructions, looking up does not.
            for i in range(len(part)):
                cells[i] = _cell(part[i], m, s, half)
            for i in range(len(part)):
                result[i] = levels[own, codes[own, np.uint32(cells[i])]] * s + m


@njit(nogil=True, cache=True, error_model="numpy")
def search(start, stop, x, mean, scale, levels, rows_per_image, out):
    """The nearest of sorted levels (C or 1, k) to each normalized value, scaled back; of two the lower."""
    n_channels, k = mean.shape[1], levels.shape[1]
    padded = -(-max(k - 1, 1) // 5) * 5
    normalized, found = np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.float32)
    for row in range(start, stop):
        image, channel = row // n_channels // rows_per_image, row % n_channels
        own = levels[channel if levels.shape[0] > 1 else 0]
        middles, above = np.full(padded, np.float32(np.inf)), np.full(padded, own[k - 1])
        middles[: k - 1] = (own[1:] + own[:-1]) / np.float32(2)
        above[: k - 1] = own[1:]
        m, s = mean[image, channel], scale[image, channel]
        for first in range(0, x.shape[1], AT_ONCE):
            part, result = x[row, first : first + AT_ONCE], out[row, first : first + AT_ONCE]
            n = len(part)
            for i in range(n):
                normalized[i] = (part[i] - m) / s
            if k <= FEW_LEVELS:
                _step_by_step(normalized[:n], middles, above, own[0], found)
            else:
                for i in range(n):
                    found[i] = own[min(np.searchsorted(middles[: k - 1], normalized[i]), k - 1)]
            for i in range(n):
                value = found[i] * s + m
                result[i] = part[i] if part[i] != part[i] else value


@njit(nogil=True, cache=True)
def _step_by_step(values, middles, above, lowest, found):
    """Five steps up at once, so that values stay in registers; `middles` are padded to whole fives."""
    for i in range(len(values)):
        found[i] = lowest
    for j in range(0, len(middles), 5):
        a, b, c, d, e = middles[j], middles[j + 1], middles[j + 2], middles[j + 3], middles[j + 4]
        p, q, r, s, t = above[j], above[j + 1], above[j + 2], above[j + 3], above[j + 4]
        for i in range(len(values)):
            v, level = values[i], found[i]
            level = p if v > a else level
            level = q if v > b else level
            level = r if v > c else level
            level = s if v > d else level
            found[i] = t if v > e else level


@njit(nogil=True, cache=True)
def block_ranges(x, width, low, high):
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


@njit(nogil=True, cache=True)
def look_up_in_blocks(start, stop, x, n_channels, height, width, codes, levels, out):
    """`look_up` for images x (rows, H, W), each block of so many pixels by its own range."""
    half, n = codes.shape[1] // 2, x.shape[2]
    cells = np.empty(n, np.int32)
    middle, scale = np.empty(n, np.float32), np.empty(n, np.float32)
    for row in range(start, stop):
        own = row % n_channels if codes.shape[0] > 1 else 0
        for top in range(0, x.shape[1], height):
            bottom = min(top + height, x.shape[1])
            block_ranges(x[row, top:bottom], width, middle, scale)
            for y in range(top, bottom):
                part, result = x[row, y], out[row, y]
                for i in range(n):
                    cells[i] = _cell(part[i], middle[i], scale[i], half)
                for i in range(n):
                    result[i] = levels[own, codes[own, np.uint32(cells[i])]]
                for i in range(n):
                    result[i] = result[i] * scale[i] + middle[i]


@njit(nogil=True, cache=True, error_model="numpy")
def uniform_in_blocks(start, stop, x, height, width, low, high, n_steps, out):
    """Uniform levels from low to high (rows,), normalized, for images x (rows, H, W) in blocks."""
    n = x.shape[2]
    middle, scale = np.empty(n, np.float32), np.empty(n, np.float32)
    for row in range(start, stop):
        lowest, highest = low[row], high[row]
        step = np.float32((highest - lowest) / np.float32(n_steps))
        divisor = step if step > 0 else np.float32(1)
        for top in range(0, x.shape[1], height):
            bottom = min(top + height, x.shape[1])
            block_ranges(x[row, top:bottom], width, middle, scale)
            for y in range(top, bottom):
                part, result = x[row, y], out[row, y]
                for i in range(n):
                    v = (part[i] - middle[i]) / scale[i]
                    v = lowest if v < lowest else v
                    v = highest if v > highest else v
                    result[i] = (np.rint((v - lowest) / divisor) * step + lowest) * scale[i] + middle[i]


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})
def daq_statistics(start, stop, x, post_relu, mean, deviation):
    """Mean and deviation of each row; post-ReLU, those of its positive values with one count more.

    Sums in any order, so that vector instructions do them.
    """
    for row in range(start, stop):
        values, n = x[row], x.shape[1]
        total, squares = 0.0, 0.0
        if post_relu:
            positive = np.int32(1)
            for i in range(n):
                value = np.float64(values[i])
                total += value
                squares += value * value
            for i in range(n):
                positive += np.int32(values[i] > 0)
            mean[row] = total / positive
            deviation[row] = np.sqrt(max(squares / positive - (total / positive) ** 2, 0.0))
        else:
            for i in range(n):
                total += np.float64(values[i])
            middle = total / n
            for i in range(n):
                squares += (np.float64(values[i]) - middle) ** 2
            mean[row] = middle
            deviation[row] = np.sqrt(squares / max(n - 1, 1))


@njit(nogil=True, cache=True, error_model="numpy")
def daq(start, stop, x, post_relu, mean, step, half, out):
    """DAQ's levels: (i + 1/2) step (rows,) around the mean, or post-ReLU i step from 0 without end."""
    for row in range(start, stop):
        h, u = step[row], np.float32(0) if post_relu else mean[row]
        last = np.float32(half - 0.5)
        shift = last if post_relu else np.float32(0)
        divisor = h if h > 0 else np.float32(1)
        for i in range(x.shape[1]):
            code = np.rint((x[row, i] - u) / divisor - shift + np.float32(0.5)) - np.float32(0.5)
            if not post_relu:
                code = -last if code < -last else code
                code = last if code > last else code
            out[row, i] = (code + shift) * h + u
