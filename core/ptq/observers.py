"""Observers: statistics of one layer's input, collected during calibration.

An observer sees the input batch by batch and keeps statistics, never activations. Its `quantizer(config)`
then gives the layer's activation quantizer for any configuration whose normalization it observes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from core.points.moments import Moments
from core.points.selection import ExactSelection, prepare, select_points
from core.ptq.config import QuantConfig
from core.quantizers.daq import GaussianQuantizer
from core.quantizers.histogram import Histogram
from core.quantizers.levels import LevelQuantizer, even_rows, piecewise_levels, scaled_levels
from core.quantizers.microscaling import MicroscalingQuantizer
from core.quantizers.normalization import EPS, SIDE_BITS, Normalization, is_single
from core.quantizers.normalized import NormalizedUniformQuantizer, SubsetQuantizer
from core.quantizers.ranges import PERCENTILES, RANGES, break_points
from core.quantizers.uniform import UniformQuantizer


class Observer:
    """The interface of observers.

    post_relu: no value below 0 was seen. nbytes: memory of the statistics, 0 if it is small.
    """

    post_relu: bool
    nbytes: int = 0

    def update(self, x: torch.Tensor) -> None:
        """Add a batch of the layer's inputs."""
        raise NotImplementedError

    def merge(self, other: Observer) -> None:
        """Add what `other`, of the same class, saw of further images; only before `finish`."""
        raise NotImplementedError

    def finish(self) -> None:
        """Free statistics that are no longer needed, as no more data will come."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the statistics after `finish` as arrays by name, for a file; `restore` takes them."""
        raise NotImplementedError

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the statistics of `arrays`; KeyError if one is missing."""
        raise NotImplementedError

    def quantizer(self, config: QuantConfig) -> nn.Module:
        """Return the layer's activation quantizer."""
        raise NotImplementedError


class SignObserver(Observer):
    """An observer of sign and largest magnitude, for quantizers that take statistics from each input."""

    def __init__(self, channel_dim: int):
        self.channel_dim, self.post_relu, self.largest = channel_dim, True, 0.0

    def update(self, x: torch.Tensor) -> None:
        """Add a batch of the layer's inputs."""
        self.post_relu = self.post_relu and float(x.min()) >= 0
        self.largest = max(self.largest, float(x.abs().max()))

    def merge(self, other: SignObserver) -> None:
        """Add what `other` saw of further images."""
        self.post_relu = self.post_relu and other.post_relu
        self.largest = max(self.largest, other.largest)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the statistics as arrays."""
        return {"post_relu": np.asarray(self.post_relu), "largest": np.asarray(self.largest)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the statistics of `arrays`."""
        self.post_relu, self.largest = bool(arrays["post_relu"]), float(arrays["largest"])

    def quantizer(self, config: QuantConfig) -> GaussianQuantizer | MicroscalingQuantizer:
        """Return DAQ's quantizer or one of a microscaling format."""
        bits, normalization = config.activation_bits, config.recipe.normalization
        if normalization == "deviation":
            return GaussianQuantizer(bits, self.channel_dim, config.side_bits)
        return MicroscalingQuantizer(normalization, bits, self.channel_dim, self.largest)


class StaticObserver(Observer):
    """An observer of each channel's histogram, for levels that are constants of the layer or the channel."""

    def __init__(self, channel_dim: int):
        self.channel_dim, self.post_relu = channel_dim, True
        self._histogram: Histogram | None = None

    def update(self, x: torch.Tensor) -> None:
        """Add a batch of the layer's inputs."""
        rows = x.movedim(self.channel_dim, 0).flatten(1)
        self._histogram = self._histogram or Histogram(len(rows))
        self._histogram.update(rows)
        self.post_relu = self.post_relu and float(x.min()) >= 0

    def merge(self, other: StaticObserver) -> None:
        """Add what `other` saw of further images."""
        self._histogram.merge(other._histogram)
        self.post_relu = self.post_relu and other.post_relu

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the histograms as arrays."""
        return {"post_relu": np.asarray(self.post_relu)} | self._histogram.arrays()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the histograms of `arrays`."""
        self.post_relu, self._histogram = bool(arrays["post_relu"]), Histogram.of(arrays)

    @property
    def nbytes(self) -> int:
        """Memory of the histograms in bytes."""
        return self._histogram.count.nbytes + self._histogram.sum.nbytes

    def quantizer(self, config: QuantConfig) -> UniformQuantizer | LevelQuantizer:
        """Return a static quantizer with uniform or other levels."""
        recipe, bits, dim = config.recipe, config.activation_bits, self.channel_dim
        by_channel = recipe.normalization == "channel"
        seen = self._histogram if by_channel else self._histogram.whole()
        if recipe.levels == "uniform":
            exact = (seen.low, seen.high)  # the bins' means would only approximate the ends
            ends = exact if recipe.ranges == "minmax" else RANGES[recipe.ranges](*seen.values(), bits)
            return UniformQuantizer(*(ends if by_channel else (end[0] for end in ends)), bits, dim)
        if recipe.levels == "subset":
            levels = self._points(seen, config)
            index = (len(config.candidates) - 1).bit_length()
            stored = index * levels.size + 2 * SIDE_BITS * len(levels)
        elif recipe.levels == "piecewise":
            ends = seen.low, seen.high, break_points(*seen.values())
            levels = even_rows([piecewise_levels(*row, bits) for row in zip(*ends, strict=True)])
            stored = 3 * SIDE_BITS * len(levels)  # the ends and the break point
        else:
            signed = np.full(len(seen.low), not self.post_relu)
            levels = scaled_levels(recipe.levels, bits, signed, *seen.values())
            stored = SIDE_BITS * len(levels)
        return LevelQuantizer(levels if by_channel else levels[0], bits, dim, stored)

    def _points(self, seen: Histogram, config: QuantConfig) -> np.ndarray:
        """Return the chosen points (rows, 2**bits), scaled back; normalized as in DFSQ, but by constants."""
        values, counts = seen.values()
        mean = np.zeros(len(values))
        if not self.post_relu:
            mean = (values * counts).sum(1) / counts.sum(1)
        scale = np.maximum(seen.high - mean, mean - seen.low) + EPS
        moments = Moments(len(values), config.universal_set.step)
        moments.add(((values - mean[:, None]) / scale[:, None]).clip(-1, 1), counts)
        return chosen_points(moments, config) * scale[:, None] + mean[:, None]


class PercentileObserver(Observer):
    """An observer of each image's 0.1th and 99.9th percentile, of the tensor or of each channel.

    Their mean over images clips less than the percentiles of all values together, and is better at few bits.
    """

    def __init__(self, channel_dim: int, by_channel: bool):
        self.channel_dim, self.by_channel, self.post_relu = channel_dim, by_channel, True
        self._ends: list[np.ndarray] = []

    def update(self, x: torch.Tensor) -> None:
        """Add a batch of the layer's inputs."""
        self.post_relu = self.post_relu and float(x.min()) >= 0
        one_image = self.channel_dim % x.ndim == 0  # a layer called without a batch dimension
        dim = self.channel_dim if self.channel_dim < 0 else self.channel_dim - 1
        for image in x[None] if one_image else x:
            rows = image.movedim(dim, 0).flatten(1) if self.by_channel else image.reshape(1, -1)
            self._ends.append(np.percentile(rows.cpu().numpy(), PERCENTILES, axis=1))

    def merge(self, other: PercentileObserver) -> None:
        """Add what `other` saw of further images."""
        self.post_relu = self.post_relu and other.post_relu
        self._ends += other._ends

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the percentiles of every image as arrays."""
        return {"post_relu": np.asarray(self.post_relu), "ends": np.asarray(self._ends)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the percentiles of `arrays`."""
        self.post_relu, self._ends = bool(arrays["post_relu"]), list(arrays["ends"])

    def quantizer(self, config: QuantConfig) -> UniformQuantizer:
        """Return a uniform quantizer between the mean percentiles."""
        low, high = np.mean(self._ends, 0)
        ends = (low, high) if self.by_channel else (low[0], high[0])
        return UniformQuantizer(*ends, config.activation_bits, self.channel_dim)


class NormalizedObserver(Observer):
    """An observer of the moments of a layer's input, normalized as each input will be.

    Whether the layer is post-ReLU is known only after all data: until a negative value comes, the moments of
    both normalizations are kept (blocks have only one normalization). If no channel ever had more than one
    value, as with pooled features, the channels are normalized together and share their levels. step: the
    moments' grid. block, side_bits: as for `Normalization`.
    """

    def __init__(self, channel_dim: int, step: float, block: int = 0, side_bits: int = SIDE_BITS):
        self.channel_dim, self.step, self.block, self.side_bits = channel_dim, step, block, side_bits
        self.post_relu = self._single = True
        self._one_sided: Moments | None = None
        self._two_sided: Moments | None = None
        self._exact: dict[tuple, ExactSelection] = {}

    def update(self, x: torch.Tensor) -> None:
        """Add a batch of the layer's inputs."""
        n_channels, signed = x.shape[self.channel_dim], self._normalization(False)
        if self._two_sided is None:
            self._two_sided = Moments(n_channels, self.step)
            if not signed.in_blocks(x):
                self._one_sided = Moments(n_channels, self.step)
        self._single = self._single and is_single(x, self.channel_dim)
        add_normalized(x, self._two_sided, signed)
        if self.post_relu and float(x.min()) < 0:
            self.post_relu, self._one_sided = False, None
        if self._one_sided is not None:
            add_normalized(x, self._one_sided, self._normalization(True))

    def _normalization(self, post_relu: bool) -> Normalization:
        return Normalization(self.channel_dim, post_relu, self.block, self.side_bits)

    def merge(self, other: NormalizedObserver) -> None:
        """Add what `other` saw of further images."""
        self._two_sided.merge(other._two_sided)
        self.post_relu = self.post_relu and other.post_relu
        self._single = self._single and other._single
        one_sided = self._one_sided is not None and other._one_sided is not None
        self._one_sided = self._one_sided.merge(other._one_sided) if one_sided else None

    def finish(self) -> None:
        """Drop the statistics of the normalization that does not fit, as no more data will come."""
        if self._one_sided is not None:
            self._two_sided = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the moments of the normalization that fits the data as arrays."""
        fitting = self._two_sided if self._one_sided is None else self._one_sided
        said = {"post_relu": np.asarray(self.post_relu), "single": np.asarray(self._single)}
        return said | fitting.arrays()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the moments of `arrays`."""
        self.post_relu, self._single = bool(arrays["post_relu"]), bool(arrays["single"])
        self._one_sided, self._two_sided = None, Moments.of(arrays, self.step)

    @property
    def moments(self) -> Moments:
        """The moments of the normalization that fits the data."""
        fitting = self._two_sided if self._one_sided is None else self._one_sided
        return fitting.together() if self._single else fitting

    @property
    def nbytes(self) -> int:
        """Memory of the moments in bytes."""
        return 3 * self.moments.count.nbytes

    def points(self, config: QuantConfig) -> np.ndarray:
        """Choose points (C, 2**bits); ValueError if the universal set has fewer."""
        return chosen_points(self.moments, config, self._exact)

    def quantizer(self, config: QuantConfig) -> SubsetQuantizer | NormalizedUniformQuantizer:
        """Return a quantizer to chosen points, uniform levels, or levels of a fixed shape."""
        recipe, bits = config.recipe, config.activation_bits
        how = self.post_relu, bits, self.channel_dim, self.block, self.side_bits
        rows = slice(1 if self._single else None)  # one for all channels
        if recipe.levels == "subset":
            return SubsetQuantizer(self.points(config)[rows], self.step, *how, len(config.candidates))
        values, counts = (table[rows] for table in self.moments.values())
        if recipe.levels == "uniform":
            return NormalizedUniformQuantizer(*RANGES[recipe.ranges](values, counts, bits), *how)
        signed = np.where(counts > 0, values, 0).min(1) < 0
        return SubsetQuantizer(scaled_levels(recipe.levels, bits, signed, values, counts), None, *how)


def observer_of(config: QuantConfig, channel_dim: int) -> Observer:
    """Return a new observer for `config.observed`."""
    kind, *settings = config.observed
    if kind in ("image", "block"):
        block, side_bits, step = settings
        return NormalizedObserver(channel_dim, step, block, side_bits)
    if kind == "percentile":
        return PercentileObserver(channel_dim, settings == ["channel"])
    return StaticObserver(channel_dim) if kind == "static" else SignObserver(channel_dim)


def add_normalized(x: torch.Tensor, moments: Moments, normalize: Normalization) -> None:
    """Add the normalized activations of a batch to `moments`."""
    mean, scale = normalize(x)
    # Rounding may push the extreme value a last digit beyond 1.
    moments.update(((x - mean) / scale).clamp_(-1, 1), normalize.channel_dim)


def chosen_points(
    moments: Moments, config: QuantConfig, held: dict[tuple, ExactSelection] | None = None
) -> np.ndarray:
    """Return the (C, 2**bits) points of `config.candidates` that its selector chooses.

    held: exact selections made before; each serves every smaller number of points.
    """
    recipe, candidates, n_points = config.recipe, config.candidates, 2**config.activation_bits
    if recipe.selector != "exact":
        return select_points(moments, candidates.points, n_points, selector=recipe.selector, seed=config.seed)
    held = {} if held is None else held
    key = candidates, recipe.pin_zero
    found = held.get(key)  # kept in a local variable: another thread may store a smaller one meanwhile
    if found is None or found.max_points < n_points:
        data = prepare(moments, candidates.points, n_points)
        found = held[key] = ExactSelection(data, n_points, recipe.pin_zero)
    return found.points(n_points)
