"""Level sets that are not chosen: powers of two, their sums, and the Gaussian's uniform step.

Each is normalized: the largest level is 1 (the Gaussian's levels are in standard deviations).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

FINEST_EXPONENT = 30  # log2 levels below 2^-30 are not told from 0 in float32 sums
# By bits, the step of the uniform quantizer that suits a standard normal best (Max, IRE Trans. 1960,
# table II), to three digits as DAQ's authors have it.
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

    Sums of one value from each term (Li et al., arXiv 1909.13144, eq. 5, with k = 2). An even number of
    bits makes n = bits / 2 terms {0, 2^-i, 2^-(i+n), 2^-(i+2n)}, i = 1..n. The bit left over from an odd
    number makes a term {0, 2^-(2n+1)} of its own, and the last exponent of the others one larger, as in the
    authors' code. Signed: one bit is the sign.
    """
    n, odd = divmod(bits - 1 if signed else bits, 2)
    terms = [[0.0, 2.0**-i, 2.0 ** -(i + n), 2.0 ** -(i + 2 * n + odd)] for i in range(1, n + 1)]
    if odd:
        terms.append([0.0, 2.0 ** -(2 * n + 1)])
    sums = np.array([sum(choice) for choice in itertools.product(*terms)])
    sums /= sums.max()
    return np.unique(np.concatenate([sums, -sums]) if signed else sums)


def daq_step(bits: int) -> float:
    """Return the step of DAQ's levels, in standard deviations: Max's for one bit less.

    So the authors' code has it (arXiv 2012.11230, Cheeun/DAQ-pytorch).
    """
    return GAUSSIAN_STEPS[bits - 1]


# name -> levels (bits, signed) of a fixed shape, which is scaled to fit the data
SHAPES: dict[str, Callable[[int, bool], np.ndarray]] = {"log2": log2_levels, "apot": apot_levels}
