import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import universal_sets

from core import UniversalSet

# Word 1 holds 0, 1, 1/2 and word 2 holds 0, 1, 1/4; the nine sums, halved, with both signs.
TWO_WORDS = np.array([0, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 1])


def test_one_word_by_hand():
    assert UniversalSet(1, 2).points.tolist() == [-1, 0, 1]
    assert UniversalSet(1, 3).points.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert UniversalSet(1, 3).step == 0.5


def test_two_words_by_hand():
    universal_set = UniversalSet(2, 3)
    assert universal_set.points.tolist() == sorted({*TWO_WORDS, *-TWO_WORDS})
    assert universal_set.step == 1 / 8
    assert len(universal_set) == 15


def test_doubled_by_hand():
    doubled = UniversalSet(2, 3, doubled=True)
    assert doubled.points.tolist() == UniversalSet(2, 3).points.tolist()  # the doubles are there already
    # Word 1 alone, three terms more: 0, 1, 1/2, 1/32; 1/16 is the only double that is new.
    assert UniversalSet(1, 4, doubled=True).points.tolist() == [
        -1,
        -1 / 2,
        -1 / 16,
        -1 / 32,
        0,
        1 / 32,
        1 / 16,
        1 / 2,
        1,
    ]
    assert UniversalSet(1, 4, doubled=True).decompose(-1 / 16) == (-1 / 16,)
    assert UniversalSet(1, 4, doubled=True).shift_adds(-1 / 16) == (1, 0)


@given(universal_sets)
@settings(max_examples=20)
def test_doubled_holds_every_double_within_reach_and_nothing_else(universal_set):
    plain = universal_set.points
    doubled = UniversalSet(universal_set.words, universal_set.terms, doubled=True)
    assert doubled.step == universal_set.step
    assert set(doubled.points) == {*plain, *(2 * p for p in plain if abs(p) <= 0.5)}
    for point in doubled.points[:: max(1, len(doubled) // 50)]:
        terms = doubled.decompose(point)
        assert sum(terms) / universal_set.words == point
        assert len(terms) == universal_set.words
    assert len(UniversalSet(doubled=True)) == 441


def test_what_is_a_double_of_no_point_has_no_terms():
    with pytest.raises(ValueError, match=r"not in UniversalSet\(words=1, terms=4, doubled=True\)"):
        UniversalSet(1, 4, doubled=True).decompose(1 / 8)
    with pytest.raises(ValueError, match="doubled must be True or False, got 1"):
        UniversalSet(4, 4, 1)


def test_published_sizes():
    assert len(UniversalSet()) == 377
    assert UniversalSet().step == 2**-10
    assert len(UniversalSet(5, 5)) == 3411


@pytest.mark.parametrize(("words", "terms"), [(3, 3), (3, 5), (4, 4), (5, 3)])
def test_points_equal_sums_of_fractions(words, terms):
    pools = [
        [Fraction(0), Fraction(1), *(Fraction(1, 2 ** (i + 4 * j)) for j in range(terms - 2))]
        for i in range(1, words + 1)
    ]
    positive = {sum(choice) / words for choice in itertools.product(*pools)}
    expected = sorted(float(x) for x in {*positive, *(-x for x in positive)})
    assert UniversalSet(words, terms).points.tolist() == expected


@given(universal_sets)
@settings(max_examples=20)
def test_points_are_symmetric_and_on_the_grid(universal_set):
    points = universal_set.points
    assert (points == -points[::-1]).all()
    assert points[-1] == 1
    assert np.allclose(points / universal_set.step, np.rint(points / universal_set.step), atol=1e-9)
    assert (np.diff(points) >= universal_set.step * (1 - 1e-9)).all()


def test_decompose_by_hand():
    assert UniversalSet(2, 3).decompose(-5 / 8) == (-1, -0.25)
    assert UniversalSet(2, 3).decompose(0.125) == (0, 0.25)
    assert UniversalSet(2, 3).decompose(0) == (0, 0)


@given(universal_sets)
@settings(max_examples=10)
def test_every_point_is_the_sum_of_its_terms(universal_set):
    for point in universal_set.points:
        terms = universal_set.decompose(point)
        assert len(terms) == universal_set.words
        assert sum(terms) / universal_set.words == pytest.approx(point, abs=1e-15)
        for i, term in enumerate(terms, 1):
            allowed = {0, 1, *(2.0 ** -(i + 4 * j) for j in range(universal_set.terms - 2))}
            assert abs(term) in allowed


def test_decompose_takes_the_fewest_terms():
    # Word 4's 1/16 alone, or 1/32 from words 1 and 5 each.
    assert UniversalSet(5, 4).decompose(1 / 80) == (0, 0, 0, 1 / 16, 0)


@pytest.mark.parametrize("point", [0.875, 0.1, 2.0, float("nan"), float("inf")])
def test_decompose_refuses_other_values(point):
    with pytest.raises(ValueError, match=r"is not in .*nearest point"):
        UniversalSet(2, 3).decompose(point)


def test_decompose_needs_a_number():
    with pytest.raises(ValueError, match="point must be a number, got 'a'"):
        UniversalSet().decompose("a")


@pytest.mark.parametrize("words", [0, 6, 2.5, True, "4", None])
def test_words_outside_range(words):
    with pytest.raises(ValueError, match="words must be a whole number from 1 to 5, got"):
        UniversalSet(words, 4)


@pytest.mark.parametrize("terms", [1, 6, -1, 3.0])
def test_terms_outside_range(terms):
    with pytest.raises(ValueError, match="terms must be a whole number from 2 to 5, got"):
        UniversalSet(4, terms)


def test_points_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        UniversalSet().points[0] = 0


def test_is_a_value():
    assert UniversalSet() == UniversalSet(4, 4)
    assert hash(UniversalSet()) == hash(UniversalSet(4, 4))
    assert str(UniversalSet()) == "UniversalSet(words=4, terms=4)"
    assert repr(UniversalSet(2, 3, doubled=True)) == "UniversalSet(words=2, terms=3, doubled=True)"


@pytest.mark.parametrize("on_grid", [False, True])
def test_snapping_takes_the_nearest(on_grid):
    chosen = UniversalSet(3, 4)
    allowed = np.arange(-1 / chosen.step, 1 / chosen.step + 1) * chosen.step if on_grid else chosen.points
    for value in np.random.default_rng(0).uniform(-1.2, 1.2, 200):
        (multiple,) = chosen.snap([value], on_grid)
        nearest = np.abs(allowed - np.clip(value, -1, 1)).min()
        assert abs(multiple * chosen.step - np.clip(value, -1, 1)) == pytest.approx(nearest, abs=1e-12)
    assert chosen.snap([0.9, -1, 0.9, 7], on_grid) == chosen.snap([-1, 0.9, 1], on_grid)


def test_snapping_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="finite"):
        UniversalSet().snap([0.0, float("nan")])


def test_shifts_and_additions_of_a_product():
    chosen = UniversalSet(2, 4)  # words: 0, 1, 2^-1, 2^-5 and 0, 1, 2^-2, 2^-6
    assert chosen.shift_adds(0.0) == (0, 0)
    assert chosen.shift_adds(1.0) == (0, 1)
    assert chosen.shift_adds(-0.25) == (1, 0)
    assert chosen.shift_adds((2**-5 + 2**-6) / 2) == (2, 1)
    for point in UniversalSet().points:
        shifts, additions = UniversalSet().shift_adds(point)
        assert shifts <= 4
        assert additions <= 3
