"""Choices -> data, cached over all sessions. Never a figure.

Every function takes plain, hashable choices and a `token` by which the caller may cancel and hear of
progress. What they return is shared between sessions: read it, never change it.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

import core
from core.calibration import PATCHES, layer_inputs, patch_size
from core.config import FLOAT
from core.daq import GaussianQuantizer
from core.images import to_tensor
from core.methods import TRAINED
from core.microscaling import MicroscalingQuantizer
from core.mismatch import Mismatch
from core.normalization import Normalization, is_single
from core.normalized import NormalizedQuantizer, NormalizedUniformQuantizer, SubsetQuantizer
from core.observers import ChosenPoints
from core.point_selection import prepare
from core.quantize import layer_groups
from explorer import regions, sources
from explorer.jobs import Token, shared
from explorer.sources import NETWORKS, layer_channels, scale_of, trained
from explorer.state import BITS, WHOLE

MARGIN = 4  # LR pixels around a region that its bicubic reduction looks at, and some to spare
VALUE_BINS = 256
EAGER_SET = 1100  # largest set for which 256 points are chosen ahead: more would keep a person waiting
COMPARED_SELECTORS = ("exact", "kmeans", "greedy")
BY_HAND = "by hand"
UNITS = {
    SubsetQuantizer: "normalized activation",
    NormalizedUniformQuantizer: "normalized activation",
    GaussianQuantizer: "deviations from the mean",
    MicroscalingQuantizer: "scale of the block",
}


def _bytes(calibration: core.Calibration) -> int:
    return sum(seen.nbytes for seen in calibration.observers.values()) + 1


class ReadOnly:
    """Its arrays cannot be written to: they are shared between sessions."""

    def __post_init__(self):
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)


@shared(4)
def network(name: str, token: Token) -> torch.nn.Module:
    return sources.make_network(name)


@shared(16)
def pair(image: str, scale: int, region: str, token: Token) -> core.Pair:
    """LR and HR of the region; HR is None for an image without ground truth."""
    if region == WHOLE and (sentence := regions.too_large(image, scale)):
        raise ValueError(sentence)
    size = sources.lr_size(image, scale)
    top, left, height, width = regions.window(region, *size)
    pixels = sources.pixels(image)
    if sources.without_truth(image):
        return core.Pair(image, to_tensor(pixels[top : top + height, left : left + width].copy()), None)
    # Only as much of a large image is reduced as the region needs: its LR is that of the whole.
    above, before = max(0, top - MARGIN), max(0, left - MARGIN)
    below, behind = min(size[0], top + height + MARGIN), min(size[1], left + width + MARGIN)
    part = to_tensor(pixels[scale * above : scale * below, scale * before : scale * behind].copy())
    top, left = top - above, left - before
    lr = core.bicubic(part, 1 / scale)[..., top : top + height, left : left + width]
    top, left, height, width = (scale * n for n in (top, left, height, width))
    return core.Pair(image, lr, part[..., top : top + height, left : left + width])


@shared(4)
def calibration_images(scale: int, token: Token) -> torch.Tensor:
    """32 random LR patches of all demo photographs."""
    images = [core.make_lr(core.demo_image(name), scale) for name in core.demo_names()]
    return core.calibration_patches(images, PATCHES, patch_size(scale))


def seen_by(config: core.QuantConfig) -> core.QuantConfig:
    """One and the same configuration for all whose calibrations are the same."""
    kind, *_ = config.observed
    if kind in ("image", "block"):
        step_of = dataclasses.replace(config.universal_set, doubled=False)
        return core.QuantConfig(
            "uniform+",
            4,
            4,
            step_of,
            normalization=kind,
            refine=(),
            block=config.block,
            side_bits=config.side_bits,
        )
    stands_for = {"static": "minmax", "deviation": "daq", "percentile": "percentile"}.get(kind, kind)
    normalization = config.recipe.normalization if kind == "percentile" else None
    return core.QuantConfig(stands_for, 4, 4, normalization=normalization)


@shared(64)
def groups(name: str, seen: core.QuantConfig, token: Token) -> list[list[str]]:
    """The quantized layers in groups whose statistics are held at once."""
    return layer_groups(network(name, token=token), list(layer_channels(name)), seen)


@shared(2.2e9, _bytes, heavy=True)
def calibration(name: str, seen: core.QuantConfig, group: int, token: Token) -> core.Calibration:
    """Of one group of layers; `seen` is that of `seen_by`."""
    images = calibration_images(scale_of(name), token=token)
    parts = groups(name, seen, token=token)

    def progress(what: str, share: float) -> None:
        token.progress(what, (group + share) / len(parts))

    progress("Calibrating", 0.0)
    return core.calibrate(network(name, token=token), images, seen, parts[group], progress)


@shared(4)
def trained_network(name: str, config: core.QuantConfig, token: Token) -> torch.nn.Module:
    """The bundled network that training quantized so; ValueError says at which bits there is one."""
    weights = f"{config.method}-w{config.weight_bits}a{config.activation_bits}"
    there = [known for known in trained(name) if known.startswith(f"{config.method}-w")]
    if weights not in there:
        known = " and ".join(w.removeprefix(f"{config.method}-").upper() for w in there)
        raise ValueError(f"{config.method} was trained at {known or 'no bits'} here; the tab Training trains")
    return core.create_model(*NETWORKS[name], weights)


def observer(name: str, layer: str, config: core.QuantConfig, token: Token):
    """What was seen of the layer's input, as the configuration needs it."""
    seen = seen_by(config)
    parts = groups(name, seen, token=token)
    group = next(i for i, part in enumerate(parts) if layer in part)
    return calibration(name, seen, group, token=token).observers[layer]


@shared(7e8, lambda x: x.nbytes, heavy=True)  # holds every layer of the default network
def activations(name: str, layer: str, token: Token) -> torch.Tensor:
    """The layer's float input for every calibration image, (N, C, H, W)."""
    images = calibration_images(scale_of(name), token=token)
    return layer_inputs(network(name, token=token), layer, images, token.progress)


@dataclasses.dataclass(frozen=True)
class Distribution(ReadOnly):
    """A layer's float input over the calibration images, by channel."""

    layer: str
    edges: np.ndarray  # (bins + 1,) of the activation's value
    counts: np.ndarray  # (C, bins)
    low: np.ndarray  # (C, N) per channel and image
    high: np.ndarray
    mean: np.ndarray
    spread: np.ndarray  # (C, 3): 10 %, median and 90 % over the images of the max of DFSQ's normalization
    post_relu: bool


@shared(64)
def distribution(name: str, layer: str, token: Token) -> Distribution:
    x = activations(name, layer, token=token)
    flat = x.transpose(0, 1).flatten(2)  # (C, N, H*W)
    low, high = flat.amin(2), flat.amax(2)
    post_relu = bool(low.min() >= 0)
    _, spread = Normalization(-3, post_relu)(x)
    edges = np.linspace(float(low.min()), float(high.max()), VALUE_BINS + 1)
    width = max(edges[-1] - edges[0], 1e-12)
    cell = ((flat.flatten(1) - edges[0]) * (VALUE_BINS / width)).long().clamp_(0, VALUE_BINS - 1)
    offset = torch.arange(len(cell))[:, None] * VALUE_BINS
    counts = torch.bincount((cell + offset).flatten(), minlength=len(cell) * VALUE_BINS)
    return Distribution(
        layer,
        edges,
        counts.view(len(cell), VALUE_BINS).numpy(),
        low.numpy(),
        high.numpy(),
        flat.mean(2).numpy(),
        np.quantile(spread.flatten(1).numpy(), [0.1, 0.5, 0.9], axis=0).T,
        post_relu,
    )


@shared(16)
def mismatch(name: str, token: Token) -> dict[str, Mismatch]:
    """Of every quantized layer's float input over the calibration images."""
    images = calibration_images(scale_of(name), token=token)
    return core.mismatch(network(name, token=token), images, list(layer_channels(name)), token.progress)


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
