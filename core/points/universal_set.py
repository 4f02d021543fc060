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

    Word i (from 1) holds `terms` values: 1, 2^-(i+4j) for j = 0 ... terms-3, and 0. So a multiplication by a
    point costs at most words-1 additions and as many shifts as words in hardware. 377 points by default;
    3,411 at (5, 5). doubled (not in the paper): the set also holds the doubles of its points that lie in [-1,
    1]. They fill the gaps far from 0, where few sums reach, and cost no more hardware, only shifts in the
    other direction. ValueError for words outside 1..5, terms outside 2..5, or `doubled` other than True or
    False.

    >>> from core import UniversalSet
    >>> len(UniversalSet()), UniversalSet().step
    (377, 0.0009765625)
    >>> UniversalSet().decompose(0.375)  # (1 + 0.5) / 4
    (0.5, 0.0, 0.0, 1.0)
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
        """The grid step: every point is a whole multiple of it."""
        return 2.0 ** -_finest(self.words, self.terms) / self.words

    def __len__(self) -> int:
        return len(self.points)

    def decompose(self, point: float) -> tuple[float, ...]:
        """Return the term of each word: `point == sum(terms) / words`, all with the point's sign.

        Of several decompositions the one with the fewest non-zero terms; for a point that is in the set only
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
        """Return the nearest points as multiples of `step`, sorted and distinct.

        on_grid: take the nearest multiple of `step` in [-1, 1] instead, whether it is in the set or not.
        ValueError for a value that is not a finite number.
        """
        values = np.asarray(list(values), dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("points must be finite numbers")
        if not on_grid:
            values = self.points[np.abs(values[:, None] - self.points).argmin(1)]
        return [int(multiple) for multiple in np.unique(np.rint(values.clip(-1, 1) / self.step))]

    def shift_adds(self, point: float) -> tuple[int, int]:
        """Count the shifts and additions of a product with `point` in hardware.

        Each term 2^k is a shift, the term 1 needs none, and the terms are summed; the division by `words`
        does not count. ValueError if `point` is not in the set.
        """
        terms = [abs(term) for term in self.decompose(point) if term]
        return sum(term != 1 for term in terms), max(len(terms) - 1, 0)


def _finest(words: int, terms: int) -> int:
    """Return the largest exponent e of a term 2^-e."""
    return words + 4 * (terms - 3) if terms >= 3 else 0


def _word(i: int, terms: int) -> list[float]:
    return [0.0, 1.0] + [2.0 ** -(i + 4 * j) for j in range(terms - 2)]


@functools.lru_cache(maxsize=32)
def _decompositions(words: int, terms: int) -> dict[int, tuple[float, ...]]:
    """Map each multiple of the step to the terms that sum to it, with the fewest non-zero terms."""
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
