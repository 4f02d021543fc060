"""Histograms of values of unknown range, from which ranges and levels are estimated."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch

from core.quantizers import _range_kernels as kernels
from core.utils.parallel import over_rows

BINS = 4096


class Histogram:
    """Count and sum of each row's values in even bins over [-limit, limit], and the lowest and highest value.

    When a value lies beyond the limit, the limit doubles and bins merge in pairs: at least a quarter of the
    bins span the data, whatever the order of the batches. `low`, `high`: (R,) exact.
    """

    def __init__(self, n_rows: int):
        self.limit = 0.0
        self.count, self.sum = np.zeros((n_rows, BINS)), np.zeros((n_rows, BINS))
        self.low, self.high = np.full(n_rows, np.inf), np.full(n_rows, -np.inf)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Histogram:
        """Return the histogram that `arrays` gave; KeyError or ValueError if they do not fit together."""
        made = cls(len(arrays["count"]))
        made.limit = float(arrays["limit"])
        for name in ("count", "sum", "low", "high"):
            getattr(made, name)[:] = arrays[name]
        return made

    def arrays(self) -> dict[str, np.ndarray]:
        """Return limit, counts, sums and ends as arrays by name."""
        tables = {"count": self.count, "sum": self.sum, "low": self.low, "high": self.high}
        return {"limit": np.asarray(self.limit)} | tables

    def update(self, rows: torch.Tensor) -> None:
        """Add the values of (R, n)."""
        low, high = (end.double().cpu().numpy() for end in rows.detach().aminmax(dim=1))
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        largest = max(-self.low.min(), self.high.max())
        if largest > self.limit:
            self.widen(2.0 ** np.ceil(np.log2(largest)))
        if self.limit:
            x = rows.detach().float().cpu().numpy()
            over_rows(kernels.count, len(x), x, BINS / 2 / self.limit, self.count, self.sum)
        else:  # nothing but zeros so far
            self.count[:, BINS // 2] += rows.shape[1]

    def widen(self, limit: float) -> None:
        """Double the limit until it is at least `limit`; bins merge in pairs."""
        while self.limit and self.limit < limit:
            for table in (self.count, self.sum):
                merged = table.reshape(len(table), BINS // 2, 2).sum(2)
                table[:] = 0
                table[:, BINS // 4 : 3 * BINS // 4] = merged
            self.limit *= 2
        self.limit = max(self.limit, limit)

    def merge(self, other: Histogram) -> None:
        """Add what `other` counted, which stays unchanged; ValueError if it has another number of rows."""
        if other.count.shape != self.count.shape:
            raise ValueError(
                f"cannot merge a histogram of {len(other.count)} rows into one of {len(self.count)}"
            )
        # Limits are powers of two, so that the edges of bins always coincide.
        limit, other = max(self.limit, other.limit), copy.deepcopy(other)
        self.widen(limit)
        other.widen(limit)
        self.count += other.count
        self.sum += other.sum
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)

    def whole(self) -> Histogram:
        """Return the histogram of all rows as one row."""
        one = Histogram(1)
        one.limit, one.count, one.sum = self.limit, self.count.sum(0)[None], self.sum.sum(0)[None]
        one.low, one.high = self.low.min(keepdims=True), self.high.max(keepdims=True)
        return one

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the count of each bin, both (R, bins), 0 for an empty bin."""
        return np.divide(self.sum, self.count, out=np.zeros_like(self.sum), where=self.count > 0), self.count
