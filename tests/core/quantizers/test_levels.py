import numpy as np
import pytest
from scipy import optimize, stats

from core.quantizers.levels import GAUSSIAN_STEPS, apot_levels, daq_step, log2_levels, piecewise_levels


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


def test_apot_of_odd_bits_by_hand():
    # B = 3: {0, 1/2, 1/4, 1/16} + {0, 1/8}, divided by the largest sum, 5/8.
    assert apot_levels(3, signed=False) == pytest.approx(np.array([0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1]))
    assert apot_levels(2, signed=True).tolist() == [-1, 0, 1]


# J. Max, Quantizing for minimum distortion, IRE Trans. Inf. Theory 1960, table II.
@pytest.mark.parametrize("bits", range(1, 9))
def test_gaussian_steps_are_minima_of_the_integral(bits):
    def error(step):
        half = 2 ** (bits - 1)
        edges = np.array([-np.inf, *(step * i for i in range(1 - half, half)), np.inf])
        levels = (np.arange(-half, half) + 0.5) * step
        p, mass = stats.norm.pdf(edges), stats.norm.cdf(edges)
        first = p[:-1] - p[1:]
        edge_terms = np.where(np.isfinite(edges), edges, 0) * p
        second = np.diff(mass) + edge_terms[:-1] - edge_terms[1:]
        return (second - 2 * levels * first + levels**2 * np.diff(mass)).sum()

    best = optimize.minimize_scalar(error, bounds=(1e-3, 2), method="bounded").x
    assert GAUSSIAN_STEPS[bits] == pytest.approx(best, abs=6e-4)


def test_daq_takes_the_step_of_one_bit_less():
    assert [daq_step(bits) for bits in (2, 3, 4, 8)] == [1.596, 0.996, 0.586, 0.057]


def test_piecewise_levels_by_hand():
    # 4 bits: 7 points from -6 to 6, and 3 beyond on each side.
    both = [-12, -10, -8, -6, -4, -2, 0, 2, 4, 6, 9, 12, 15]
    assert piecewise_levels(-12, 15, 6, 4).tolist() == pytest.approx(both)
    # After ReLU 8 points up to the break point and 8 beyond; the same mirrored.
    one = [*range(8), *range(8, 24, 2)]
    one[8:] = [9, 11, 13, 15, 17, 19, 21, 23]
    assert piecewise_levels(0, 23, 7, 4).tolist() == pytest.approx(one)
    assert piecewise_levels(-23, 0, 7, 4).tolist() == pytest.approx([-level for level in reversed(one)])
    # A low end within the break point stays the lowest level.
    assert piecewise_levels(-0.5, 23, 7, 4)[0] == -0.5
    for bits in range(3, 9):
        assert len(piecewise_levels(-12, 15, 6, bits)) == 2**bits - 3
        assert len(piecewise_levels(0, 15, 6, bits)) == 2**bits
