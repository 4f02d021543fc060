"""Compiled quantization of float32 activations, each in one fused pass over the data.

Rows are the channels of images, x (rows, n). `error_model="numpy"`: Python's own would test each divisor for
0, and the division could not use vector instructions. NaN stays NaN.
"""

from __future__ import annotations

import numpy as np
from numba import njit

EPS = 1e-8  # of `core.quantizers.normalization`
AT_ONCE = 1024  # values that stay in the L1 cache between two loops
FEW_LEVELS = 32  # up to so many, comparing with every boundary is faster than bisection


@njit(nogil=True, cache=True, error_model="numpy")
def uniform(start, stop, x, low, high, n_steps, out):
    """Compute `core.quantizers.uniform.uniform` with low and high (rows,)."""
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
    """Return the half-grid cell of a normalized value, the first or last for NaN and values beyond."""
    # In float64 the product is exact, so that a value exactly at a midpoint goes to the lower cell.
    edge = np.ceil(np.float64((x - mean) / scale) * half)
    edge = edge if edge > 1 - half else 1 - half
    return np.int32(edge if edge < half else half) + (half - 1)


@njit(nogil=True, cache=True)
def look_up(start, stop, x, mean, scale, codes, levels, rows_per_image, out):
    """Replace each value by the level that the table of codes has for its cell, scaled back."""
    n_channels, half = mean.shape[1], codes.shape[1] // 2
    cells = np.empty(AT_ONCE, np.int32)
    for row in range(start, stop):
        image, channel = row // n_channels // rows_per_image, row % n_channels
        own = channel if codes.shape[0] > 1 else 0
        m, s = mean[image, channel], scale[image, channel]
        for first in range(0, x.shape[1], AT_ONCE):
            part, result = x[row, first : first + AT_ONCE], out[row, first : first + AT_ONCE]
            # Two loops: the arithmetic of the first uses vector instructions, the look-up cannot.
            for i in range(len(part)):
                cells[i] = _cell(part[i], m, s, half)
            for i in range(len(part)):
                result[i] = levels[own, codes[own, np.uint32(cells[i])]] * s + m


@njit(nogil=True, cache=True, error_model="numpy")
def search(start, stop, x, mean, scale, levels, rows_per_image, out):
    """Replace each value by the nearest sorted level (C or 1, k), scaled back; ties go to the lower."""
    n_channels, k = mean.shape[1], levels.shape[1]
    padded = -(-max(k - 1, 1) // 5) * 5
    normalized, found = np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.float32)
    middles, above = np.empty(padded, np.float32), np.empty(padded, np.float32)
    for row in range(start, stop):
        image, channel = row // n_channels // rows_per_image, row % n_channels
        own = levels[channel if levels.shape[0] > 1 else 0]
        for i in range(padded):
            inside = i < k - 1
            above[i] = own[i + 1] if inside else own[k - 1]
            middles[i] = (own[i + 1] + own[i]) / np.float32(2) if inside else np.float32(np.inf)
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
                    place, end = 0, k - 1  # the first boundary that is not below the value, by bisection
                    while place < end:
                        middle = (place + end) >> 1
                        if middles[middle] < normalized[i]:
                            place = middle + 1
                        else:
                            end = middle
                    found[i] = own[place]
            for i in range(n):
                value = found[i] * s + m
                result[i] = part[i] if part[i] != part[i] else value


@njit(nogil=True, cache=True)
def _step_by_step(values, middles, above, lowest, found):
    """Raise `found` to the highest level whose lower boundary is below the value.

    Five boundaries at a time, so that values stay in registers; `middles` are padded to a multiple of five.
    """
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
    """Compute `block_normalization` of a row of blocks x (height, W): middles into low, scales into high."""
    half, eps = np.float32(0.5), np.float32(EPS)
    for i in range(x.shape[1]):
        low[i] = high[i] = x[0, i]
    for y in range(1, x.shape[0]):
        for i in range(x.shape[1]):
            v = x[y, i]
            low[i] = v if v < low[i] or v != v else low[i]  # v != v is NaN, which stays
            high[i] = v if v > high[i] or v != v else high[i]
    for first in range(0, x.shape[1], width):
        stop = min(first + width, x.shape[1])
        a, b = low[first], high[first]
        for i in range(first + 1, stop):
            a = low[i] if low[i] < a or low[i] != low[i] else a
            b = high[i] if high[i] > b or high[i] != high[i] else b
        middle, scale = a * half + b * half, b * half - a * half + eps
        for i in range(first, stop):
            low[i], high[i] = middle, scale


@njit(nogil=True, cache=True)
def look_up_in_blocks(start, stop, x, n_channels, height, width, codes, levels, out):
    """Compute `look_up` for images x (rows, H, W), each block of height x width pixels by its own range."""
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
    """Quantize images x (rows, H, W) by blocks to uniform levels from low to high (rows,), normalized."""
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
    """Compute each row's mean and deviation; post-ReLU, those of its positive values and a count of 1 more.

    Sums are taken in any order, so that they use vector instructions.
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
    """Quantize to DAQ's levels: (i + 1/2) step (rows,) around the mean; post-ReLU, i step from 0 up."""
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
