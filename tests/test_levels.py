import itertools

import numpy as np
import pytest
from scipy import integrate, stats

from core.levels import apot_levels, gaussian_step, log2_levels


def test_log2_by_hand():
    assert log2_levels(2, signed=False).tolist() == [0, 0.25, 0.5, 1]
    assert log2_levels(3, signed=True).tolist() == [-1, -0.5, -0.25, 0, 0.25, 0.5, 1]
    assert len(log2_levels(8, signed=False)) == 32  # finer ones are 0


def test_apot_by_hand():
    # n = 2: {0, 1, 1/4, 1/16} + {0, 1/2, 1/8, 1/32}, divided by the largest sum, 3/2.
    sums = sorted({a + b for a in (0, 1, 1 / 4, 1 / 16) for b in (0, 1 / 2, 1 / 8, 1 / 32)})
    assert apot_levels(4, signed=False) == pytest.approx(np.array(sums) / 1.5)
    assert apot_levels(2, signed=False).tolist() == [0, 0.25, 0.5, 1]


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", [log2_levels, apot_levels])
def test_levels_fit_their_bits_and_are_symmetric_if_signed(shape, bits):
    one_sided, signed = shape(bits, False), shape(bits, True)
    assert len(one_sided) <= 2**bits
    assert len(signed) <= 2**bits
    assert one_sided[0] == 0
    assert one_sided[-1] == signed[-1] == 1
    assert (signed == -signed[::-1]).all()
    assert (np.diff(signed) > 0).all()


# J. Max, Quantizing for minimum distortion, IRE Trans. Inf. Theory 1960, table II.
@pytest.mark.parametrize(("bits", "step"), [(1, 1.596), (2, 0.9957), (3, 0.5860), (4, 0.3352), (5, 0.1881)])
def test_gaussian_step_equals_the_published_table(bits, step):
    assert gaussian_step(bits) == pytest.approx(step, abs=3e-4)


@pytest.mark.parametrize("bits", [2, 4])
def test_gaussian_step_is_a_minimum_of_the_integral(bits):
    def error(step):
        half = 2 ** (bits - 1)
        edges = [-np.inf, *(step * i for i in range(1 - half, half)), np.inf]
        total = 0.0
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            level = (i - half + 0.5) * step
            total += integrate.quad(lambda x, q=level: (x - q) ** 2 * stats.norm.pdf(x), low, high)[0]
        return total

    best = gaussian_step(bits)
    assert error(best) < min(error(0.98 * best), error(1.02 * best))
