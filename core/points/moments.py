"""Exact, mergeable sufficient statistics of normalized activations.

All candidate points lie on a grid, so every midpoint between two of them lies on the half grid: with count,
sum and sum of squares of each half-grid cell the squared error of any choice of points is known exactly,
whatever the amount of data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numba import njit

from core.utils.parallel import over_rows


class Moments:
    """Statistics of each channel in half-grid cells of [-1, 1]: `count`, `sum`, `sum_sq`, (C, cells) float64.

    `step` is the grid of the candidate points (UniversalSet.step); 1/step must be whole. A cell includes its
    lower edge; the value 1 falls in the last cell. ValueError for another step or fewer than one channel.

    >>> import numpy as np
    >>> from core import Moments
    >>> moments = Moments(n_channels=1, step=1 / 4).update(np.array([[[0.1, 0.3, 0.9]]]))
    >>> moments.sse(np.array([0.25, 1.0])).round(4)  # 0.15² + 0.05² + 0.1²
    array([0.035])
    """

    def __init__(self, n_channels: int, step: float):
        if n_channels < 1:
            raise ValueError(f"n_channels must be at least 1, got {n_channels}")
        if not (0 < step <= 1 and math.isclose(1 / step, round(1 / step), rel_tol=1e-9)):
            raise ValueError(f"step must be 1/n with a whole n, got {step}")
        self.step = float(step)
        self.steps_per_unit = round(1 / step)
        shape = (n_channels, 4 * self.steps_per_unit)
        self.count, self.sum, self.sum_sq = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], step: float) -> Moments:
        """Return the statistics that `arrays` gave; KeyError or ValueError if they do not fit the step."""
        made = cls(len(arrays["count"]), step)
        for name in ("count", "sum", "sum_sq"):
            getattr(made, name)[:] = arrays[name]
        return made

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the statistics as arrays by name."""
        return {"count": self.count, "sum": self.sum, "sum_sq": self.sum_sq}

    @property
    def n_channels(self) -> int:
        """The number of channels C."""
        return self.count.shape[0]

    def update(self, x: torch.Tensor | np.ndarray, channel_dim: int = 1) -> Moments:
        """Add values in [-1, 1], of any shape, in place; return self. ValueError for other values or NaN."""
        x = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
        if x.ndim == 0 or not -x.ndim <= channel_dim < x.ndim or x.shape[channel_dim] != self.n_channels:
            raise ValueError(f"expected {self.n_channels} channels at dim {channel_dim}, got shape {x.shape}")
        if x.dtype not in (np.float32, np.float64):
            x = x.astype(np.float64)
        # (outer, C, inner) without a copy for contiguous input
        dim = channel_dim % x.ndim
        outer, inner = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
        x = np.ascontiguousarray(x).reshape(outer, self.n_channels, inner)
        if x.size and not (x.min() >= -1 and x.max() <= 1):
            raise ValueError(f"values must lie in [-1, 1], got {x.min()} to {x.max()}")
        over_rows(_add, self.n_channels, x, 2.0 * self.steps_per_unit, self.count, self.sum, self.sum_sq)
        return self

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Add values in [-1, 1], (C, n), each `counts` (C, n) times."""
        n_cells = self.count.shape[1]
        cell = np.floor(values * (2.0 * self.steps_per_unit)).astype(np.int64) + n_cells // 2
        where = np.arange(self.n_channels)[:, None], cell.clip(0, n_cells - 1)
        for table, terms in (
            (self.count, counts),
            (self.sum, counts * values),
            (self.sum_sq, counts * values**2),
        ):
            np.add.at(table, where, terms)

    def together(self) -> Moments:
        """Return statistics in which every channel has the values of all channels."""
        of_all = Moments(self.n_channels, self.step)
        of_all.count[:], of_all.sum[:], of_all.sum_sq[:] = (
            table.sum(0) for table in (self.count, self.sum, self.sum_sq)
        )
        return of_all

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the count of each cell, both (C, cells), 0 for an empty cell."""
        return np.divide(self.sum, self.count, out=np.zeros_like(self.sum), where=self.count > 0), self.count

    def merge(self, other: Moments) -> Moments:
        """Add the statistics of `other` in place; return self. ValueError if its channels or step differ."""
        if other.count.shape != self.count.shape or other.step != self.step:
            raise ValueError(
                f"cannot merge Moments of {other.n_channels} channels, step {other.step} "
                f"into {self.n_channels} channels, step {self.step}"
            )
        self.count += other.count
        self.sum += other.sum
        self.sum_sq += other.sum_sq
        return self

    def sse(self, points: np.ndarray) -> np.ndarray:
        """Return the squared error (C,) of mapping each value to the nearest of `points`.

        points: (k,) or (C, k) on the grid, else ValueError.
        """
        points = np.asarray(points, dtype=np.float64)
        if points.ndim == 1:
            points = np.broadcast_to(points, (self.n_channels, len(points)))
        if points.ndim != 2 or points.shape[0] != self.n_channels or points.shape[1] == 0:
            raise ValueError(f"points must be (k,) or ({self.n_channels}, k), got {points.shape}")
        points = np.sort(points, axis=1)
        position = self.grid_positions(points)
        midpoint = position[:, :-1] + position[:, 1:]  # in half steps, so an edge between cells
        result = np.zeros(self.n_channels)
        for c in range(self.n_channels):
            edges = np.concatenate([[0], midpoint[c], [self.count.shape[1]]])
            n, s, q = (
                np.diff(np.concatenate([[0], m[c].cumsum()])[edges])
                for m in (self.count, self.sum, self.sum_sq)
            )
            result[c] = (q - 2 * points[c] * s + points[c] ** 2 * n).sum()
        return result.clip(0)

    def grid_positions(self, points: np.ndarray) -> np.ndarray:
        """Return the index of each point on the grid, 0 for -1; ValueError if a point is not on it."""
        points = np.asarray(points, dtype=np.float64)
        if not (points.min() >= -1 and points.max() <= 1):
            raise ValueError(f"points must lie in [-1, 1], got {points.min()} to {points.max()}")
        scaled = (points + 1) * self.steps_per_unit
        position = np.rint(scaled)
        if not np.all(np.abs(scaled - position) < 1e-6):
            raise ValueError(f"points must be multiples of {self.step}")
        return position.astype(np.int64)


@njit(nogil=True, cache=True)
def _add(start, stop, x, cells_per_unit, count, total, total_sq):
    n_cells = count.shape[1]
    for c in range(start, stop):
        for o in range(x.shape[0]):
            for i in range(x.shape[2]):
                value = np.float64(x[o, c, i])
                # Scale before shifting: the product is exact for float32 values, x + 1 would be rounded.
                cell = min(int(np.floor(value * cells_per_unit)) + n_cells // 2, n_cells - 1)
                count[c, cell] += 1.0
                total[c, cell] += value
                total_sq[c, cell] += value * value
