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
from core.calibration import PATCH_SIZE, PATCHES, layer_inputs
from core.images import to_uint8
from core.quantizers import SubsetQuantizer, UniformQuantizer, normalization
from explorer.jobs import Token, shared
from explorer.state import NETWORKS

REGION = 128  # LR pixels of the centre crop
VALUE_BINS = 256
EAGER_SET = 1100  # largest set for which 256 points are chosen ahead: more would keep a person waiting
COMPARED_SELECTORS = ("exact", "kmeans", "greedy")


def _bytes(calibration: core.Calibration) -> int:
    kept = [o.moments for o in calibration.observers.values() if hasattr(o, "moments")]
    return sum(3 * m.count.nbytes for m in kept) + 1


@shared(4)
def network(name: str, token: Token) -> torch.nn.Module:
    return core.create_model(*NETWORKS[name])


@shared(16)
def pair(image: str, scale: int, region: str, token: Token) -> core.Pair:
    """The photograph and its bicubic LR; "centre" crops both to 128x128 LR pixels."""
    hr = core.demo_image(image)
    lr = core.make_lr(hr, scale)
    if region == "centre":
        size = [min(REGION, n) for n in lr.shape[-2:]]
        top, left = ((n - s) // 2 for n, s in zip(lr.shape[-2:], size, strict=True))
        lr = lr[..., top : top + size[0], left : left + size[1]]
        top, left, height, width = (scale * n for n in (top, left, *size))
        hr = hr[..., top : top + height, left : left + width]
    return core.Pair(image, lr, hr)


@shared(4)
def calibration_images(scale: int, token: Token) -> torch.Tensor:
    """32 random LR patches of all demo photographs."""
    images = [core.make_lr(core.demo_image(name), scale) for name in core.demo_names()]
    return core.calibration_patches(images, PATCHES, PATCH_SIZE[scale])


@shared(3e9, _bytes)
def calibration(name: str, method: str, words: int, terms: int, token: Token) -> core.Calibration:
    images = calibration_images(NETWORKS[name][1], token=token)
    config = core.QuantConfig(method, 2, 2, core.UniversalSet(words, terms))

    def progress(done: int) -> None:
        token.progress("Calibrating", done / len(images))

    token.progress("Calibrating", 0.0)
    return core.calibrate(network(name, token=token), images, config, progress=progress)


@shared(4e8, lambda x: x.nbytes)
def activations(name: str, layer: str, token: Token) -> torch.Tensor:
    """The layer's float input for every calibration image, (N, C, H, W)."""
    images = calibration_images(NETWORKS[name][1], token=token)

    def progress(done: int) -> None:
        token.progress("Recording activations", done / len(images))

    return layer_inputs(network(name, token=token), layer, images, progress)


@dataclasses.dataclass(frozen=True)
class Distribution:
    """A layer's float input over the calibration images, by channel."""

    layer: str
    edges: np.ndarray  # (bins + 1,) of the activation's value
    counts: np.ndarray  # (C, bins)
    low: np.ndarray  # (C, N) per channel and image
    high: np.ndarray
    mean: np.ndarray
    spread: np.ndarray  # (C, N) the max of DFSQ's normalization
    post_relu: bool


@shared(64)
def distribution(name: str, layer: str, token: Token) -> Distribution:
    x = activations(name, layer, token=token)
    flat = x.transpose(0, 1).flatten(2)  # (C, N, H*W)
    low, high = flat.amin(2), flat.amax(2)
    post_relu = bool(low.min() >= 0)
    _, spread = normalization(x, -3, post_relu)
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
        spread.flatten(1).T.numpy(),
        post_relu,
    )


@shared(512)
def selection(
    name: str, layer: str, words: int, terms: int, selector: str, bits: int, token: Token
) -> tuple[np.ndarray, np.ndarray]:
    """Points (C, 2**bits) and mean squared error (C,) of the normalized activations."""
    token.check()
    observer = calibration(name, "dfsq", words, terms, token=token).observers[layer]
    if selector == "exact" and 256 <= len(observer.universal_set) <= EAGER_SET:
        observer.points(8)  # holds the optimum for every smaller number of bits
    points = observer.points(bits, selector)
    return points, observer.moments.sse(points) / observer.moments.count.sum(1)


@dataclasses.dataclass(frozen=True)
class Points:
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


@shared(256)
def points(name: str, layer: str, channel: int, config: core.QuantConfig, token: Token) -> Points:
    """The channel's distribution and the levels that `config` gives it."""
    x = activations(name, layer, token=token)[:, channel : channel + 1]
    universal = config.universal_set
    made = calibration(name, config.method, universal.words, universal.terms, token=token)
    observer, bits = made.observers[layer], config.activation_bits
    if config.method == "dfsq":
        mean, scale = normalization(x, -3, observer.post_relu)
        values = ((x - mean) / scale).clamp(-1, 1)
        key = (name, layer, universal.words, universal.terms)
        all_levels, _ = selection(*key, config.selector, bits, token=token)
        levels, candidates, unit = all_levels[channel], universal.points, "normalized activation"
        quantizer = SubsetQuantizer(levels[None], universal.step, observer.post_relu, bits, -3)
        span = (-1.0, 1.0)
        selectors = {}
        for selector in COMPARED_SELECTORS:
            _, mse = selection(*key, selector, bits, token=token)
            selectors[selector] = (float(mse[channel]), float(mse.mean()))
    else:
        values, unit, selectors = x, "activation", {}
        quantizer: UniformQuantizer = observer.quantizer(config)
        low, high = float(quantizer.low), float(quantizer.high)
        levels, candidates = np.linspace(low, high, 2**bits), np.empty(0)
        span = (min(low, float(x.min())), max(high, float(x.max())))
    flat = np.sort(values.flatten().double().numpy())
    splits = np.searchsorted(flat, (levels[1:] + levels[:-1]) / 2)
    nearest = np.repeat(levels, np.diff([0, *splits, len(flat)]))
    counts, edges = np.histogram(flat, VALUE_BINS, span)
    noise = float((x - quantizer(x)).double().square().sum())
    return Points(
        config.method,
        channel,
        unit,
        edges,
        counts,
        levels,
        len(np.unique(nearest)),
        len(np.unique(levels)),
        candidates,
        float(np.square(flat - nearest).mean()),
        10 * math.log10(float(x.double().square().sum()) / noise) if noise else math.inf,
        selectors,
    )


@shared(1e9, lambda model: 1 + sum(b.nbytes for b in model.buffers()))
def quantized(name: str, config: core.QuantConfig, token: Token) -> torch.nn.Module:
    universal = config.universal_set
    made = calibration(name, config.method, universal.words, universal.terms, token=token)
    return core.quantize_model(network(name, token=token), made, config)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture and how near it is to the ground truth; PSNR and SSIM are None for the ground truth."""

    rgb: np.ndarray  # (H, W, 3) uint8
    psnr: float | None
    ssim: float | None


@shared(2.5e8, lambda picture: picture.rgb.nbytes)
def picture(name: str, image: str, region: str, what: str | core.QuantConfig, token: Token) -> Picture:
    """`what`: "hr", "bicubic", "float", or the configuration of a quantized network."""
    scale = NETWORKS[name][1]
    _, lr, hr = pair(image, scale, region, token=token)
    if what == "hr":
        return Picture(to_uint8(hr)[0], None, None)
    if what == "bicubic":
        sr = core.bicubic(lr, scale)
    else:
        float_model = network(name, token=token)
        model = float_model if what == "float" else quantized(name, what, token=token)
        token.check()
        sr = core.super_resolve(model, lr)
    psnr, ssim = core.psnr_y(sr, hr, border=scale), core.ssim_y(sr, hr, border=scale)
    return Picture(to_uint8(sr)[0], psnr, ssim)


def difference(a: Picture, b: Picture) -> np.ndarray:
    """Mean absolute difference of two pictures over RGB, (H, W) in 8-bit levels."""
    return np.abs(a.rgb.astype(np.int16) - b.rgb).mean(2).astype(np.float32)
