"""Observers: what a method learns about one layer's input during calibration.

An observer sees the input batch by batch and keeps statistics, never activations. Its `quantizer(config)`
then gives the layer's activation quantizer for any bits, selector and seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from core.moments import Moments
from core.normalization import has_blocks, moments_of
from core.point_selection import ExactSelection, prepare, select_points
from core.quantizers import (
    GaussianQuantizer,
    LevelQuantizer,
    SubsetQuantizer,
    UniformQuantizer,
)
from core.ranges import RANGES, Histogram, search_ranges
from core.universal_set import UniversalSet

if TYPE_CHECKING:
    from core.config import QuantConfig


class Observer:
    """`post_relu`: no value below 0 was seen."""

    post_relu: bool

    def update(self, x: torch.Tensor) -> None:
        """Add a batch."""
        raise NotImplementedError

    def merge(self, other: Observer) -> None:
        """Add what `other`, of the same kind, saw of further images; before `finish`."""
        raise NotImplementedError

    def finish(self) -> None:
        """No more data will come."""

    def quantizer(self, config: QuantConfig) -> nn.Module:
        """The layer's activation quantizer."""
        raise NotImplementedError


class RangeObserver(Observer):
    """The range of a layer's input, per tensor: the mean over images of each image's low and high.

    For "minmax" the lowest low and the highest high instead, so that nothing is clipped.
    """

    def __init__(self, ranges: str, channel_dim: int = 1):
        self._estimate, self._outermost = RANGES[ranges], ranges == "minmax"
        self.channel_dim = channel_dim
        self._ranges: list[tuple[float, float]] = []
        self._lowest = np.inf

    def update(self, x: torch.Tensor) -> None:
        self._lowest = min(self._lowest, float(x.min()))
        one_image = self.channel_dim % x.ndim == 0  # a layer called without a batch dimension
        self._ranges += [self._estimate(image.flatten()) for image in (x[None] if one_image else x)]

    def merge(self, other: RangeObserver) -> None:
        self._lowest = min(self._lowest, other._lowest)
        self._ranges += other._ranges

    @property
    def post_relu(self) -> bool:
        return self._lowest >= 0

    def quantizer(self, config: QuantConfig) -> UniformQuantizer:
        bits = config.activation_bits
        lows, highs = zip(*self._ranges, strict=True)
        if self._outermost:
            return UniformQuantizer(min(lows), max(highs), bits)
        return UniformQuantizer(float(np.mean(lows)), float(np.mean(highs)), bits)


class HistogramObserver(Observer):
    """A histogram of a layer's input, of the whole tensor or by channel; ranges are searched on it."""

    def __init__(self, channel_dim: int, per_channel: bool = False, joint: bool = False):
        self.channel_dim, self.per_channel, self.joint = channel_dim, per_channel, joint
        self.post_relu = True
        self._histogram: Histogram | None = None

    def update(self, x: torch.Tensor) -> None:
        rows = x.movedim(self.channel_dim, 0).flatten(1) if self.per_channel else x.reshape(1, -1)
        self._histogram = self._histogram or Histogram(len(rows))
        self._histogram.update(rows)
        self.post_relu = self.post_relu and float(x.min()) >= 0

    def merge(self, other: HistogramObserver) -> None:
        self._histogram.merge(other._histogram)
        self.post_relu = self.post_relu and other.post_relu

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and their counts, both (rows, bins)."""
        return self._histogram.values()

    def quantizer(self, config: QuantConfig) -> UniformQuantizer:
        ends = search_ranges(*self.values(), config.activation_bits, self.joint)
        low, high = ends if self.per_channel else (end[0] for end in ends)
        return UniformQuantizer(low, high, config.activation_bits, self.channel_dim)


class ScaledLevelsObserver(HistogramObserver):
    """Levels of a fixed shape, scaled so that the squared error is lowest; one scale a tensor."""

    def __init__(self, shape: Callable[[int, bool], np.ndarray], channel_dim: int):
        super().__init__(channel_dim)
        self._shape = shape

    def quantizer(self, config: QuantConfig) -> LevelQuantizer:
        levels = self._shape(config.activation_bits, not self.post_relu)
        values, counts = (table[0] for table in self.values())
        values, counts = values[counts > 0], counts[counts > 0]
        largest = np.abs(values).max(initial=0.0)
        scales = largest * np.geomspace(0.05, 1, 200)
        errors = [self._error(values, counts, scale * levels) for scale in scales]
        return LevelQuantizer(scales[int(np.argmin(errors))] * levels, config.activation_bits)

    @staticmethod
    def _error(values: np.ndarray, counts: np.ndarray, levels: np.ndarray) -> float:
        nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]
        return float((counts * (values - nearest) ** 2).sum())


class GaussianObserver(Observer):
    """Nothing is learned but the sign: DAQ takes its statistics from each input."""

    def __init__(self, channel_dim: int):
        self.channel_dim, self.post_relu = channel_dim, True

    def update(self, x: torch.Tensor) -> None:
        self.post_relu = self.post_relu and float(x.min()) >= 0

    def merge(self, other: GaussianObserver) -> None:
        self.post_relu = self.post_relu and other.post_relu

    def quantizer(self, config: QuantConfig) -> GaussianQuantizer:
        return GaussianQuantizer(config.activation_bits, self.channel_dim)


class SubsetObserver(Observer):
    """Moments of a layer's normalized input, and the points chosen from them.

    Whether the layer is post-ReLU shows only when all data are seen: until a negative value comes, the
    moments of both normalizations are kept, except of blocks, for which there is but one. pin_zero: as for
    `ExactSelection`. block: as for `SubsetQuantizer`.
    """

    def __init__(self, universal_set: UniversalSet, channel_dim: int, pin_zero: bool = False, block: int = 0):
        self.universal_set, self.channel_dim, self.block = universal_set, channel_dim, block
        self._pin_zero = pin_zero
        self.post_relu = True
        self._one_sided: Moments | None = None
        self._two_sided: Moments | None = None
        self._exact: ExactSelection | None = None

    def update(self, x: torch.Tensor) -> None:
        n_channels, step = x.shape[self.channel_dim], self.universal_set.step
        if self._two_sided is None:
            self._two_sided = Moments(n_channels, step)
            if not has_blocks(x, self.channel_dim, self.block):
                self._one_sided = Moments(n_channels, step)
        moments_of(x, self._two_sided, self.channel_dim, False, self.block)
        if self.post_relu and float(x.min()) < 0:
            self.post_relu, self._one_sided = False, None
        if self._one_sided is not None:
            moments_of(x, self._one_sided, self.channel_dim, True)

    def merge(self, other: SubsetObserver) -> None:
        self._two_sided.merge(other._two_sided)
        self.post_relu = self.post_relu and other.post_relu
        both = self._one_sided is not None and other._one_sided is not None
        self._one_sided = self._one_sided.merge(other._one_sided) if both else None

    def finish(self) -> None:
        """No more data will come: drop the statistics of the normalization that does not fit."""
        if self._one_sided is not None:
            self._two_sided = None

    @property
    def moments(self) -> Moments:
        """Of the normalization that fits the data."""
        return self._two_sided if self._one_sided is None else self._one_sided

    def points(self, bits: int, selector: str = "exact", seed: int = 0) -> np.ndarray:
        """(C, 2**bits) chosen points; ValueError if the universal set has fewer."""
        n_points, candidates = 2**bits, self.universal_set.points
        if selector != "exact":
            return select_points(self.moments, candidates, n_points, selector=selector, seed=seed)
        held = self._exact  # a local name, as another thread may put a smaller one in its place
        if held is None or held.max_points < n_points:
            data = prepare(self.moments, candidates, n_points)
            held = self._exact = ExactSelection(data, n_points, self._pin_zero)
        return held.points(n_points)

    def quantizer(self, config: QuantConfig) -> SubsetQuantizer:
        bits = config.activation_bits
        points = self.points(bits, config.selector, config.seed)
        step, dim = self.universal_set.step, self.channel_dim
        return SubsetQuantizer(points, step, self.post_relu, bits, dim, self.block)


class Known(Observer):
    """Stands for an observer whose quantizer for one configuration is made already (None for float)."""

    def __init__(self, quantizer: nn.Module | None, post_relu: bool):
        self._quantizer, self.post_relu = quantizer, post_relu

    def quantizer(self, config: QuantConfig) -> nn.Module:
        return self._quantizer


class ChosenPoints(Observer):
    """Stands for an observer whose points are known: `points` (C, 2**bits) of `universal_set`."""

    def __init__(
        self,
        points: np.ndarray,
        universal_set: UniversalSet,
        post_relu: bool,
        channel_dim: int,
        block: int = 0,
    ):
        self._points, self._step, self._block = points, universal_set.step, block
        self.post_relu, self._channel_dim = post_relu, channel_dim

    def quantizer(self, config: QuantConfig) -> SubsetQuantizer:
        bits = config.activation_bits
        dim = self._channel_dim
        return SubsetQuantizer(self._points, self._step, self.post_relu, bits, dim, self._block)
