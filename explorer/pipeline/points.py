"""Which points are chosen, where they lie, and what they cost: choices -> data, cached over all sessions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

import core
from core.points.selection import prepare
from core.ptq.config import FLOAT
from core.ptq.methods import TRAINED
from core.ptq.observers import ChosenPoints
from core.quantizers.daq import GaussianQuantizer
from core.quantizers.microscaling import MicroscalingQuantizer
from core.quantizers.normalization import is_single
from core.quantizers.normalized import NormalizedQuantizer, NormalizedUniformQuantizer, SubsetQuantizer
from explorer.choices.state import BITS
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline.activations import VALUE_BINS, ReadOnly, activations, observer, trained_network

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
    """What a selector chose for a layer."""

    points: np.ndarray  # (C, 2**bits), sorted
    error: np.ndarray  # (C,) mean squared, of the normalized activations
    post_relu: bool


def of_activations(config: core.QuantConfig, selector: str | None = None) -> core.QuantConfig:
    """The configuration with what does not matter to the activations' points at its default."""
    selector = selector or config.recipe.selector
    return dataclasses.replace(config, weight_bits=FLOAT, weights=None, refine=(), selector=selector)


@shared(128)
def exact_points(
    name: str, layer: str, config: core.QuantConfig, most_bits: int, token: Token
) -> dict[int, np.ndarray]:
    """The optimum for every number of bits up to `most_bits`, from one run; whatever the bits of `config`."""
    seen, candidates = observer(name, layer, config, token=token), config.candidates.points
    data = prepare(seen.moments, candidates, 2**most_bits)
    found = core.ExactSelection(data, 2**most_bits, config.recipe.pin_zero)
    return {bits: found.points(2**bits) for bits in range(2, most_bits + 1)}


@shared(5e7, lambda chosen: chosen.points.nbytes)
def selection(name: str, layer: str, config: core.QuantConfig, token: Token) -> Selection:
    """What the selector of `config` chooses; ask with that of `of_activations`."""
    seen, bits = observer(name, layer, config, token=token), config.activation_bits
    token.check()
    if config.recipe.selector == "exact":
        size = len(config.candidates)
        most = min(BITS[-1], size.bit_length() - 1) if size <= EAGER_SET else bits
        any_bits = dataclasses.replace(config, activation_bits=BITS[0])
        points = exact_points(name, layer, any_bits, max(most, bits), token=token)[bits]
    else:
        points = seen.points(config)
    return Selection(points, seen.moments.sse(points) / seen.moments.count.sum(1), seen.post_relu)


def replaced(selected: Selection, channel: int | None, points: np.ndarray) -> Selection:
    """With other points in one channel, or in all for None; `points` (k,), at most as many as before."""
    rows = selected.points.copy()
    rows[slice(None) if channel is None else channel] = np.pad(
        points, (0, rows.shape[1] - len(points)), "edge"
    )
    return dataclasses.replace(selected, points=rows)


def chosen_points(selected: Selection) -> ChosenPoints:
    """Return what stands for the layer's observer."""
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


@shared(256)
def points(
    name: str,
    layer: str,
    channel: int,
    config: core.QuantConfig,
    hand: tuple[int, ...] = (),
    whole_layer: bool = False,
    compared: bool = True,
    *,
    token: Token,
) -> Points:
    """The channel's distribution and the levels that `config` gives it.

    hand: points in steps of the grid that take their place, in all channels if `whole_layer`. compared:
    whether the errors of all selectors are asked for, which takes longer than all else.
    """
    x = activations(name, layer, token=token)[:, channel : channel + 1]
    selectors = {}
    if config.from_subset:
        chosen = selection(name, layer, of_activations(config), token=token)
        for selector in COMPARED_SELECTORS if compared else ("exact",):
            mse = selection(name, layer, of_activations(config, selector), token=token).error
            selectors[selector] = (float(mse[channel]), float(mse.mean()))
        if hand:
            own = np.array(hand) * config.universal_set.step
            chosen = replaced(chosen, None if whole_layer else channel, own)
            moments = observer(name, layer, config, token=token).moments
            mse = moments.sse(chosen.points) / moments.count.sum(1)
            selectors[BY_HAND] = (float(mse[channel]), float(mse.mean()))
        quantizer = chosen_points(chosen).quantizer(config)
    elif config.method in TRAINED:
        model = trained_network(name, config, token=token)
        quantizer = model.get_submodule(layer).activation_quantizer
    else:
        quantizer = observer(name, layer, config, token=token).quantizer(config)
    levels = own if selectors.get(BY_HAND) else quantizer.levels(channel)
    mean, scale = _normalization(quantizer, name, layer, channel, token)
    values = ((x - mean) / scale).double()
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values.numpy())]
    noise = float(((values - torch.from_numpy(nearest)) * scale).square().sum())
    low, high = float(values.min()), float(values.max())
    normalized = isinstance(quantizer, NormalizedQuantizer)
    span = (-1.0, 1.0) if normalized else (min(levels[0], low), max(levels[-1], high))
    counts, edges = np.histogram(values.clamp(*span).numpy(), VALUE_BINS, span)
    return Points(
        config.method,
        channel,
        UNITS.get(type(quantizer), "activation"),
        edges,
        counts,
        levels,
        len(np.unique(nearest)),
        len(np.unique(levels)),
        config.candidates.points if config.from_subset else np.empty(0),
        float((values - torch.from_numpy(nearest)).square().mean()),
        10 * math.log10(float(x.double().square().sum()) / noise) if noise else math.inf,
        selectors,
        compared,
        tuple(_terms(config.candidates, level) for level in np.unique(levels)) if selectors else (),
    )


def _normalization(quantizer: torch.nn.Module, name: str, layer: str, channel: int, token: Token):
    """Mean and scale of the channel's values, which broadcast against it; 0 and 1 for constants."""
    if isinstance(quantizer, MicroscalingQuantizer):  # its scale is that of all channels of a block
        x = activations(name, layer, token=token)
        return 0.0, quantizer.scales(x)[:, channel : channel + 1]
    x = activations(name, layer, token=token)
    x = x if is_single(x, -3) else x[:, channel : channel + 1]
    return quantizer.normalization(x) if quantizer.dynamic else (0.0, 1.0)


def _terms(universal_set: core.UniversalSet, point: float) -> tuple[tuple[float, ...], int, int] | None:
    try:
        return universal_set.decompose(point), *universal_set.shift_adds(point)
    except ValueError:
        return None  # on the grid only
