"""The universal set: multi-word additive log-scale values (DFSQ, arXiv 2305.05888, eq. 6 and 7)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import numbers
from collections.abc import Iterable

import numpy as np

MAX_WORDS = MAX_TERMS = 5


@dataclasses.dataclass(frozen=True)
class UniversalSet:
    """Every sum of one term per word, divided by the number of words, with both signs.

    Word i (from 1) holds `terms` values: 1, 2^-(i+4j) for j = 0 ... terms-3, and 0. So a point costs at
    most words-1 additions and as many shifts in hardware. 377 points by default; 3,411 at (5, 5).
    doubled (not in the paper): with the doubles of its points, as far as they lie in [-1, 1]. Far from 0,
    where few sums reach, that fills the gaps, at no cost in hardware but shifts the other way.
    Raises ValueError for words outside 1..5, terms outside 2..5, or `doubled` other than True or False.
    """

    words: int = 4
    terms: int = 4
    doubled: bool = False

    def __post_init__(self):
        if not isinstance(self.doubled, bool):
            raise ValueError(f"doubled must be True or False, got {self.doubled!r}")
        for name, value, low, high in (
            ("words", self.words, 1, MAX_WORDS),
            ("terms", self.terms, 2, MAX_TERMS),
        ):
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}")

    def __repr__(self) -> str:
        doubled = ", doubled=True" if self.doubled else ""
        return f"UniversalSet(words={self.words}, terms={self.terms}{doubled})"

    @property
    def points(self) -> np.ndarray:
        """Sorted distinct float64 values in [-1, 1], read-only."""
        return _points(self.words, self.terms, self.doubled)

    @property
    def step(self) -> float:
        """Every point is a whole multiple of this grid step."""
        return 2.0 ** -_finest(self.words, self.terms) / self.words

    def __len__(self) -> int:
        return len(self.points)

    def decompose(self, point: float) -> tuple[float, ...]:
        """The term that each word contributes: `point == sum(terms) / words`, all of the point's sign.

        Of several decompositions the one with the fewest non-zero terms; of a point that is in the set only
        as a double, twice the terms of its half. ValueError if `point` is not in the set.
        """
        if not isinstance(point, numbers.Real):
            raise ValueError(f"point must be a number, got {point!r}")
        multiple = round(abs(float(point)) / self.step) if np.isfinite(point) else -1
        known = _decompositions(self.words, self.terms)
        terms = known.get(multiple)
        if terms is None and self.doubled and multiple % 2 == 0 and multiple * self.step <= 1:
            terms = tuple(2 * term for term in known.get(multiple // 2, ())) or None
        if terms is None or abs(abs(point) - multiple * self.step) > 1e-9 * self.step:
            nearest = self.points[np.abs(self.points - point).argmin()] if np.isfinite(point) else 0.0
            raise ValueError(f"{point} is not in {self}; the nearest point is {nearest}")
        return tuple(float(np.copysign(t, point)) if t else 0.0 for t in terms)

    def snap(self, values: Iterable[float], on_grid: bool = False) -> list[int]:
        """The nearest points as multiples of `step`, sorted and distinct; beyond the set its outermost ones.

        on_grid: the nearest of all multiples of `step` in [-1, 1] instead, in the set or not.
        ValueError for what is no finite number.
        """
        values = np.asarray(list(values), dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("points must be finite numbers")
        if not on_grid:
            values = self.points[np.abs(values[:, None] - self.points).argmin(1)]
        return [int(multiple) for multiple in np.unique(np.rint(values.clip(-1, 1) / self.step))]

    def shift_adds(self, point: float) -> tuple[int, int]:
        """Shifts and additions of a product with `point` in hardware, the division by `words` apart.

        Each term 2^k is a shift, 1 is none, and the terms are summed. ValueError if it is not in the set.
        """
        terms = [abs(term) for term in self.decompose(point) if term]
        return sum(term != 1 for term in terms), max(len(terms) - 1, 0)


def _finest(words: int, terms: int) -> int:
    """The largest exponent e of a term 2^-e."""
    return words + 4 * (terms - 3) if terms >= 3 else 0


def _word(i: int, terms: int) -> list[float]:
    return [0.0, 1.0] + [2.0 ** -(i + 4 * j) for j in range(terms - 2)]


@functools.lru_cache(maxsize=32)
def _decompositions(words: int, terms: int) -> dict[int, tuple[float, ...]]:
    """Multiple of the step -> the terms that sum to it, fewest non-zero terms first."""
    found: dict[int, tuple[float, ...]] = {}
    unit = 2.0 ** _finest(words, terms)
    for choice in itertools.product(*(_word(i, terms) for i in range(1, words + 1))):
        multiple = round(sum(choice) * unit)
        if multiple not in found or np.count_nonzero(choice) < np.count_nonzero(found[multiple]):
            found[multiple] = choice
    return found


@functools.lru_cache(maxsize=32)
def _points(words: int, terms: int, doubled: bool) -> np.ndarray:
    multiples = np.array(sorted(_decompositions(words, terms)), dtype=np.int64)
    steps_per_unit = 2 ** _finest(words, terms) * words
    if doubled:
        twice = 2 * multiples
        multiples = np.concatenate([multiples, twice[twice <= steps_per_unit]])
    signed = np.unique(np.concatenate([-multiples, multiples]))
    points = signed / steps_per_unit
    points.setflags(write=False)
    return points
