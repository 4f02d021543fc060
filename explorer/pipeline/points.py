"""The chosen points, where they lie, and their errors: choices -> data, cached over all sessions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

import core
from core.points.selection import prepare
from core.ptq.config import FLOAT
from core.ptq.known import ChosenPoints
from core.ptq.methods import TRAINED
from core.quantizers.daq import GaussianQuantizer
from core.quantizers.microscaling import MicroscalingQuantizer
from core.quantizers.normalization import is_single
from core.quantizers.normalized import NormalizedQuantizer, NormalizedUniformQuantizer, SubsetQuantizer
from explorer.choices.state import BITS
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline.activations import (
    VALUE_BINS,
    ReadOnly,
    activations,
    calibrated_on,
    observer,
    trained_network,
    unless_packaged,
)
from explorer.pipeline.kept import fields, kept, values

EAGER_SET = 1100  # largest set for which 256 points are chosen ahead: more would keep a person waiting
COMPARED_SELECTORS = ("exact", "kmeans", "greedy")
BY_HAND = "by hand"
UNITS = {
    SubsetQuantizer: "normalized activation",
    NormalizedUniformQuantizer: "normalized activation",
    GaussianQuantizer: "deviations from the mean",
    MicroscalingQuantizer: "scale of the block",
}


@dataclasses.dataclass(frozen=True)
class Selection(ReadOnly):
    """The points that a selector chose for a layer."""

    points: np.ndarray  # (C, 2**bits), sorted
    error: np.ndarray  # (C,) mean squared, of the normalized activations
    post_relu: bool


def of_activations(config: core.QuantConfig, selector: str | None = None) -> core.QuantConfig:
    """Set to its default what does not matter to the activations' points, so that caches hit."""
    selector = selector or config.recipe.selector
    return dataclasses.replace(config, weight_bits=FLOAT, weights=None, refine=(), selector=selector)


def _pack_points(found: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    return {str(bits): rows for bits, rows in found.items()}


def _unpack_points(arrays: Mapping[str, np.ndarray], *_, token: Token) -> dict[int, np.ndarray]:
    return {int(bits): rows for bits, rows in arrays.items()}


@shared(128, as_key=unless_packaged)
@kept(_pack_points, _unpack_points, calibrated_on)
def exact_points(
    name: str,
    layer: str,
    config: core.QuantConfig,
    most_bits: int,
    own: tuple[str, ...] = (),
    *,
    token: Token,
) -> dict[int, np.ndarray]:
    """Find the optimum for every number of bits up to `most_bits`, not only that of `config`, in one run."""
    seen, candidates = observer(name, layer, config, own, token=token), config.candidates.points
    data = prepare(seen.moments, candidates, 2**most_bits)
    found = core.ExactSelection(data, 2**most_bits, config.recipe.pin_zero)
    return {bits: found.points(2**bits) for bits in range(2, most_bits + 1)}


@shared(5e7, lambda chosen: chosen.points.nbytes, as_key=unless_packaged)
@kept(fields, lambda arrays, *_, token: Selection(**values(arrays)), calibrated_on)
def selection(
    name: str, layer: str, config: core.QuantConfig, own: tuple[str, ...] = (), *, token: Token
) -> Selection:
    """Choose a layer's points by the selector of `config`, which is one of `of_activations`."""
    seen, bits = observer(name, layer, config, own, token=token), config.activation_bits
    token.check()
    if config.recipe.selector == "exact":
        size = len(config.candidates)
        most = min(BITS[-1], size.bit_length() - 1) if size <= EAGER_SET else bits
        any_bits = dataclasses.replace(config, activation_bits=BITS[0])
        points = exact_points(name, layer, any_bits, max(most, bits), own, token=token)[bits]
    else:
        points = seen.points(config)
    return Selection(points, seen.moments.sse(points) / seen.moments.count.sum(1), seen.post_relu)


def replaced(selected: Selection, channel: int | None, points: np.ndarray) -> Selection:
    """Replace the points of one channel, or of all for None; `points` (k,), at most as many as before."""
    rows = selected.points.copy()
    rows[slice(None) if channel is None else channel] = np.pad(
        points, (0, rows.shape[1] - len(points)), "edge"
    )
    return dataclasses.replace(selected, points=rows)


def chosen_points(selected: Selection) -> ChosenPoints:
    """Return the points as an observer of the layer, for `core.Calibration`."""
    return ChosenPoints(selected.points, selected.post_relu, -3)


@dataclasses.dataclass(frozen=True)
class Points(ReadOnly):
    """One channel of a layer and how it is quantized."""

    method: str
    channel: int
    unit: str  # of the horizontal axis
    edges: np.ndarray
    counts: np.ndarray
    levels: np.ndarray  # sorted, may repeat
    used: int  # levels that some activation is mapped to
    distinct: int
    candidates: np.ndarray  # the universal set; empty for uniform levels
    error: float  # mean squared, in units of the axis
    sqnr: float  # dB, in the units of the network
    selectors: dict[str, tuple[float, float]]  # name -> mean squared error of the channel, of the layer
    compared: bool  # whether that is every selector's, or only the best's and that of points by hand
    # Of every distinct level, if it is in the set: its terms, and the shifts and additions they cost.
    terms: tuple[tuple[tuple[float, ...], int, int] | None, ...]


class PointsRequest(NamedTuple):
    """The points of one channel of a layer.

    hand: points in steps of the grid that take their place, in all channels if `whole_layer`. compared:
    whether the errors of all selectors are asked for, which takes longer than all else. own: as of
    `activations.calibration_images`.
    """

    network: str
    layer: str
    channel: int
    config: core.QuantConfig
    hand: tuple[int, ...] = ()
    whole_layer: bool = False
    compared: bool = True
    own: tuple[str, ...] = ()


@shared(256, as_key=PointsRequest)
def points(*request, token: Token) -> Points:
    """Compute the channel's distribution and levels; the arguments are a `PointsRequest`."""
    asked = PointsRequest(*request)
    name, layer, channel, config = asked[:4]
    x = activations(name, layer, asked.own, token=token)[:, channel : channel + 1]
    quantizer, selectors = _from_set(asked, token) if config.from_subset else (_ready(asked, token), {})
    by_hand = BY_HAND in selectors  # not padded to as many as the bits tell apart
    levels = np.array(asked.hand) * config.universal_set.step if by_hand else quantizer.levels(channel)
    mean, scale = _normalization(quantizer, asked, token)
    values = ((x - mean) / scale).double()
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, values.numpy())
    nearest = levels[codes]
    noise = float(((values - torch.from_numpy(nearest)) * scale).square().sum())
    low, high = float(values.min()), float(values.max())
    normalized = isinstance(quantizer, NormalizedQuantizer)
    span = (-1.0, 1.0) if normalized else (min(levels[0], low), max(levels[-1], high))
    counts, edges = np.histogram(values.clamp(*span).numpy(), VALUE_BINS, span)
    return Points(
        method=config.method,
        channel=channel,
        unit=UNITS.get(type(quantizer), "activation"),
        edges=edges,
        counts=counts,
        levels=levels,
        used=len(np.unique(levels[np.bincount(codes.ravel(), minlength=len(levels)) > 0])),
        distinct=len(np.unique(levels)),
        candidates=config.candidates.points if config.from_subset else np.empty(0),
        error=float((values - torch.from_numpy(nearest)).square().mean()),
        sqnr=10 * math.log10(float(x.double().square().sum()) / noise) if noise else math.inf,
        selectors=selectors,
        compared=asked.compared,
        terms=tuple(_terms(config.candidates, level) for level in np.unique(levels)) if selectors else (),
    )


def _from_set(asked: PointsRequest, token: Token) -> tuple[torch.nn.Module, dict[str, tuple[float, float]]]:
    """Make the quantizer with points of the universal set or by hand; return it and the selectors' errors."""
    name, layer, channel, config = asked[:4]
    chosen = selection(name, layer, of_activations(config), asked.own, token=token)
    errors = {}
    for selector in COMPARED_SELECTORS if asked.compared else ("exact",):
        own = of_activations(config, selector)
        errors[selector] = selection(name, layer, own, asked.own, token=token).error
    if asked.hand:
        own = np.array(asked.hand) * config.universal_set.step
        chosen = replaced(chosen, None if asked.whole_layer else channel, own)
        moments = observer(name, layer, config, asked.own, token=token).moments
        errors[BY_HAND] = moments.sse(chosen.points) / moments.count.sum(1)
    costs = {name: (float(error[channel]), float(error.mean())) for name, error in errors.items()}
    return chosen_points(chosen).quantizer(config), costs


def _ready(asked: PointsRequest, token: Token) -> torch.nn.Module:
    """Make the quantizer of a method whose levels are not chosen, or return the trained one."""
    name, layer, _, config = asked[:4]
    if config.method in TRAINED:
        return trained_network(name, config, token=token).get_submodule(layer).activation_quantizer
    return observer(name, layer, config, asked.own, token=token).quantizer(config)


def _normalization(quantizer: torch.nn.Module, asked: PointsRequest, token: Token):
    """Return mean and scale of the channel's values, which broadcast against it; 0 and 1 if static."""
    channel = asked.channel
    if isinstance(quantizer, MicroscalingQuantizer):  # its scale is that of all channels of a block
        x = activations(asked.network, asked.layer, asked.own, token=token)
        return 0.0, quantizer.scales(x)[:, channel : channel + 1]
    x = activations(asked.network, asked.layer, asked.own, token=token)
    x = x if is_single(x, -3) else x[:, channel : channel + 1]
    return quantizer.normalization(x) if quantizer.dynamic else (0.0, 1.0)


def _terms(universal_set: core.UniversalSet, point: float) -> tuple[tuple[float, ...], int, int] | None:
    try:
        return universal_set.decompose(point), *universal_set.shift_adds(point)
    except ValueError:
        return None  # on the grid only
