"""Level sets that are not uniform: powers of two, their sums, and the Gaussian's uniform step.

Each is normalized: the largest level is 1 (the Gaussian's levels are in standard deviations).
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

FINEST_EXPONENT = 30  # log2 levels below 2^-30 are not told from 0 in float32 sums


def log2_levels(bits: int, signed: bool) -> np.ndarray:
    """0 and powers of two down from 1, at most `2**bits` levels, sorted.

    Signed: one bit is the sign. (Miyashita et al., Convolutional neural networks using logarithmic data
    representation, arXiv 1603.01025.)
    """
    count = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    powers = 2.0 ** -np.arange(min(count, FINEST_EXPONENT + 1))
    return np.unique(np.concatenate([[0.0], powers, -powers if signed else powers]))


def apot_levels(bits: int, signed: bool) -> np.ndarray:
    """Additive powers of two, at most `2**bits` levels, sorted.

    Sums of n = bits / 2 terms of two bits each, term i in {0, 2^-i, 2^-(i+n), 2^-(i+2n)} (Li et al.,
    arXiv 1909.13144, eq. 5, with k = 2). Signed: one bit is the sign. A bit that is left over makes a
    term {0, 2^-n} of its own, which the paper leaves open.
    """
    magnitude = bits - 1 if signed else bits
    n, odd = divmod(magnitude, 2)
    terms = [[0.0, *(2.0 ** -(i + j * (n + odd)) for j in range(3))] for i in range(n)]
    if odd:
        terms.append([0.0, 2.0**-n])
    sums = np.array([sum(choice) for choice in itertools.product(*terms)])
    sums /= sums.max()
    return np.unique(np.concatenate([sums, -sums]) if signed else sums)


@functools.cache
def gaussian_step(bits: int) -> float:
    """The step of the uniform quantizer with `2**bits` levels that suits a standard normal best.

    The minimum of the squared error over levels (i + 1/2) * step (Max, IRE Trans. 1960, table II), by
    golden-section search.
    """

    def error(step: float) -> float:
        # Sum over the cells of integral (x - level)^2 p(x) dx, from the antiderivatives of p, xp, x²p.
        half = 2 ** (bits - 1)
        edges = [i * step for i in range(half)] + [math.inf]
        total = 0.0
        for i in range(half):
            level, low, high = (i + 0.5) * step, edges[i], edges[i + 1]
            p = _density(low) - _density(high)
            mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
            square = mass + low * _density(low) - (high * _density(high) if high < math.inf else 0.0)
            total += square - 2 * level * p + level**2 * mass
        return total

    low, high, ratio = 1e-3, 2.0, (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if error(a) < error(b) else (a, high)
    return (low + high) / 2


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi) if x < math.inf else 0.0
