"""Choose n quantization points out of a universal set, separately for each channel.

Order the candidates. Between two neighbouring chosen points the data split at their midpoint, so the squared
error of a choice is a sum over neighbouring pairs, each known from prefix sums of count and x. The best
choice is a shortest path with n nodes; the pair cost obeys the quadrangle inequality, so the best predecessor
is monotone and divide and conquer finds it in O(n m log m).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from core.points import _selection_kernels as kernels
from core.points.moments import Moments
from core.utils.numbers import check_whole
from core.utils.parallel import over_rows

MAX_COMBINATIONS = 500_000
RESTARTS = 5  # of k-means, as in the code of DFSQ's authors


class Data:
    """The data of all channels, prepared for the selectors: sorted values and prefix sums.

    `values` (C, n) ascending; `prefix` (C, n+1, 2) of count and sum; `sum_sq` (C, n) and its sum `total_sq`
    (C,). For Moments, `position` holds each candidate's half-grid index, so that a midpoint needs no search.
    """

    def __init__(self, data: Moments | np.ndarray | torch.Tensor, candidates: np.ndarray):
        self.candidates = candidates
        if isinstance(data, Moments):
            self.position = 2 * data.grid_positions(candidates)
            terms, self.sum_sq = (data.count, data.sum), data.sum_sq
            edges = np.arange(data.count.shape[1]) / (2 * data.steps_per_unit) - 1
            filled = data.count > 0
            self.values = np.where(filled, data.sum / np.where(filled, data.count, 1), edges)
        else:
            values = data.detach().cpu().numpy() if isinstance(data, torch.Tensor) else np.asarray(data)
            if values.ndim != 2 or 0 in values.shape:
                raise ValueError(f"data must be (C, n) with at least one value, got shape {values.shape}")
            if not np.isfinite(values).all():
                raise ValueError("data must be finite, got NaN or infinity")
            self.position = np.empty(0, np.int64)
            self.values = np.sort(values.astype(np.float64), axis=1)
            terms, self.sum_sq = (np.ones_like(self.values), self.values), self.values**2
        self.total_sq = self.sum_sq.sum(1)
        n_channels, n_values = self.values.shape
        self.prefix = np.zeros((n_channels, n_values + 1, 2))
        for i, term in enumerate(terms):
            np.cumsum(term, axis=1, out=self.prefix[:, 1:, i])

    @property
    def n_channels(self) -> int:
        """The number of channels C."""
        return len(self.values)

    def index_of_zero(self) -> int:
        """Return the index of 0 among the candidates; ValueError if 0 is not one of them."""
        found = np.flatnonzero(self.candidates == 0)
        if not len(found):
            raise ValueError("a point can be pinned at 0 only for candidates that hold 0")
        return int(found[0])


class ExactSelection:
    """The optimum for every number of points up to `max_points`, from one run of the shortest path.

    Ties go to the lower value. pin_zero: the best of the choices that hold 0 (ValueError if 0 is no
    candidate).
    """

    def __init__(self, data: Data, max_points: int, pin_zero: bool = False):
        m = len(data.candidates)
        self.candidates, self.max_points = data.candidates, max_points
        index = np.int16 if m <= np.iinfo(np.int16).max else np.int32
        self._previous = np.zeros((data.n_channels, max_points, m), index)
        self._last = np.zeros((data.n_channels, max_points), np.int64)
        self._sse = np.zeros((data.n_channels, max_points))
        over_rows(
            kernels.shortest_paths,
            data.n_channels,
            data.prefix,
            data.total_sq,
            data.values,
            data.candidates,
            data.position,
            data.index_of_zero() if pin_zero else -1,
            self._previous,
            self._last,
            self._sse,
        )

    def sse(self, n_points: int) -> np.ndarray:
        """Return the squared error (C,) of the best `n_points`; ValueError above `max_points`."""
        self._check(n_points)
        return self._sse[:, n_points - 1].clip(0)

    def points(self, n_points: int) -> np.ndarray:
        """Return each channel's best points, (C, n_points) sorted float64; ValueError above `max_points`."""
        self._check(n_points)
        chosen = np.empty((len(self._last), n_points), np.int64)
        rows = np.arange(len(chosen))
        node = self._last[:, n_points - 1]
        for t in range(n_points - 1, -1, -1):
            chosen[:, t] = node
            node = self._previous[rows, t, node]
        return self.candidates[chosen]

    def _check(self, n_points: int) -> None:
        if not 1 <= n_points <= self.max_points:
            raise ValueError(f"n_points must be from 1 to {self.max_points}, got {n_points}")


def exact(data: Data, n_points: int, seed: int) -> np.ndarray:
    """Choose the points of the lowest squared error (shortest path, divide and conquer)."""
    return ExactSelection(data, n_points).points(n_points)


def kmeans(data: Data, n_points: int, seed: int) -> np.ndarray:
    """Choose by DFSQ's k-means: Lloyd from n-1 random samples and a centre at 0, snapped; best of 5 restarts.

    (arXiv 2305.05888, sec. 3.3, and the authors' code; on Moments, values are known to a half-grid cell.)
    Centres may snap to the same point, so points may repeat.
    """
    rng = np.random.default_rng(seed)
    draws = rng.random((data.n_channels, RESTARTS, n_points - 1))
    chosen = np.empty((data.n_channels, n_points))
    arrays = (data.prefix, data.total_sq, data.values, data.candidates)
    over_rows(kernels.kmeans_restarts, data.n_channels, *arrays, draws, chosen)
    return chosen


def greedy(data: Data, n_points: int, seed: int) -> np.ndarray:
    """Choose the best single point first, then always add the candidate that lowers the error most."""
    chosen = np.empty((data.n_channels, n_points))
    arrays = (data.prefix, data.total_sq, data.values, data.candidates, data.position)
    over_rows(kernels.greedy, data.n_channels, *arrays, chosen)
    return chosen


def exhaustive(data: Data, n_points: int, seed: int) -> np.ndarray:
    """Try every combination; ValueError above 500,000 of them. The tests compare `exact` with it."""
    m = len(data.candidates)
    number = math.comb(m, n_points)
    if number > MAX_COMBINATIONS:
        raise ValueError(
            f"exhaustive would try {number:.3g} combinations of {n_points} out of {m} points; the limit is "
            f"{MAX_COMBINATIONS:,}: use selector='exact', which finds the same optimum"
        )
    best_sse = np.full(data.n_channels, np.inf)
    best = np.zeros((data.n_channels, n_points), np.int64)
    squares = np.cumsum(np.pad(data.sum_sq, ((0, 0), (1, 0))), axis=1)
    for combination in _lowest_first(m, n_points):
        sse = _sse_of(data, squares, data.candidates[combination])
        better = sse < best_sse
        best_sse[better], best[better] = sse[better], combination
    return data.candidates[best]


def _lowest_first(m: int, n_points: int) -> Iterator[np.ndarray]:
    """Yield combinations ordered by their highest element, so that ties go to the lower value."""
    for combination in sorted(itertools.combinations(range(m), n_points), key=lambda c: c[::-1]):
        yield np.array(combination)


def _sse_of(data: Data, squares: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the squared error (C,) of sorted `points` (n,), directly; `squares`: prefix sums of x²."""
    sse = np.empty(data.n_channels)
    for c in range(data.n_channels):
        edges = np.searchsorted(data.values[c], (points[:-1] + points[1:]) / 2)
        edges = np.concatenate([[0], edges, [data.values.shape[1]]])
        n, s = np.diff(data.prefix[c][edges], axis=0).T
        q = np.diff(squares[c][edges])
        sse[c] = (q - 2 * points * s + points**2 * n).sum()
    return sse


SELECTORS: dict[str, Callable[[Data, int, int], np.ndarray]] = {
    "exact": exact,
    "kmeans": kmeans,
    "greedy": greedy,
    "exhaustive": exhaustive,
}


def prepare(data: Moments | np.ndarray | torch.Tensor, candidates: np.ndarray, n_points: int) -> Data:
    """Check the arguments of a selection and build the `Data` that selectors read."""
    candidates = np.asarray(candidates, dtype=np.float64)
    if candidates.ndim != 1 or not np.isfinite(candidates).all():
        raise ValueError(f"candidates must be 1-D and finite, got shape {candidates.shape}")
    candidates = np.unique(candidates)
    check_whole("n_points", n_points)
    if n_points > len(candidates):
        raise ValueError(f"cannot choose {n_points} points out of {len(candidates)} candidates")
    return Data(data, candidates)


def select_points(
    data: Moments | np.ndarray | torch.Tensor,
    candidates: np.ndarray,
    n_points: int,
    *,
    selector: str = "exact",
    seed: int = 0,
) -> np.ndarray:
    """Choose `n_points` of the 1-D `candidates` for each channel -> sorted float64 (C, n_points).

    data: Moments (candidates must lie on its grid) or raw values (C, n). selector: one of SELECTORS; seed:
    used by "kmeans" alone. ValueError for non-finite or empty data, more points than candidates, or an
    unknown selector. For a channel without data every choice is equally good: "exact" gives the lowest
    candidates.

    >>> import numpy as np
    >>> from core import select_points
    >>> data = np.array([[0.1, 0.2, 0.9, 1.0]])
    >>> select_points(data, candidates=np.array([0, 0.25, 0.5, 0.75, 1]), n_points=2)
    array([[0.25, 1.  ]])
    """
    if selector not in SELECTORS:
        raise ValueError(f"no selector {selector!r}; there are {', '.join(SELECTORS)}")
    return np.sort(SELECTORS[selector](prepare(data, candidates, n_points), int(n_points), seed), axis=1)
