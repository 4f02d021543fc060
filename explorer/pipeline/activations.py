"""Networks, calibration and activations: choices -> data, cached over all sessions.

Every function takes plain, hashable choices and a `token` by which the caller may cancel and follow the
progress. Results are shared between sessions: read them, never change them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

import core
from core.analysis.mismatch import Mismatch
from core.images import to_tensor
from core.ptq.calibration import PATCHES, layer_inputs, patch_size
from core.ptq.quantize import layer_groups
from core.quantizers.normalization import Normalization
from explorer.choices import catalog
from explorer.choices.catalog import NETWORKS, layer_channels, scale_of, trained
from explorer.choices.region import WHOLE, Region
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline import regions

VALUE_BINS = 256
MARGIN = 4  # LR pixels around a region that its bicubic reduction looks at, and some to spare


def _bytes(calibration: core.Calibration) -> int:
    return sum(seen.nbytes for seen in calibration.observers.values()) + 1


class ReadOnly:
    """A result whose arrays cannot be written to, since sessions share them."""

    def __post_init__(self):
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)


@shared(4)
def network(name: str, token: Token) -> torch.nn.Module:
    """Return the float network, in eval mode."""
    return catalog.make_network(name)


@shared(16)
def pair(image: str, scale: int, region: str, token: Token) -> core.Pair:
    """Return LR and HR of the region; HR is None for an image without ground truth."""
    if region == WHOLE and (sentence := regions.too_large(image, scale)):
        raise ValueError(sentence)
    size = catalog.lr_size(image, scale)
    top, left, height, width = Region.parse(region).window(*size)
    pixels = catalog.pixels(image)
    if catalog.without_truth(image):
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
    """Cut random LR patches from all demo photographs."""
    images = [core.make_lr(core.demo_image(name), scale) for name in core.demo_names()]
    return core.calibration_patches(images, PATCHES, patch_size(scale))


def seen_by(config: core.QuantConfig) -> core.QuantConfig:
    """Return one configuration for all whose calibrations are the same, as a key for the cache."""
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
    """Divide the quantized layers into groups whose statistics fit into memory together."""
    return layer_groups(network(name, token=token), list(layer_channels(name)), seen)


@shared(2.2e9, _bytes, heavy=True)
def calibration(name: str, seen: core.QuantConfig, group: int, token: Token) -> core.Calibration:
    """Calibrate one group of layers; `seen` is that of `seen_by`."""
    images = calibration_images(scale_of(name), token=token)
    parts = groups(name, seen, token=token)

    def progress(what: str, share: float) -> None:
        token.progress(what, (group + share) / len(parts))

    progress("Calibrating", 0.0)
    return core.calibrate(network(name, token=token), images, seen, parts[group], progress)


@shared(4)
def trained_network(name: str, config: core.QuantConfig, token: Token) -> torch.nn.Module:
    """Load the bundled network that was trained so; ValueError says at which bits there is one."""
    weights = f"{config.method}-w{config.weight_bits}a{config.activation_bits}"
    there = [known for known in trained(name) if known.startswith(f"{config.method}-w")]
    if weights not in there:
        known = " and ".join(w.removeprefix(f"{config.method}-").upper() for w in there)
        raise ValueError(
            f"{config.method} is bundled at {known or 'no bits'}; choose these, or train your own"
        )
    return core.create_model(*NETWORKS[name], weights)


def observer(name: str, layer: str, config: core.QuantConfig, token: Token):
    """Return the calibrated observer of the layer's input, as the configuration needs it."""
    seen = seen_by(config)
    parts = groups(name, seen, token=token)
    group = next(i for i, part in enumerate(parts) if layer in part)
    return calibration(name, seen, group, token=token).observers[layer]


@shared(7e8, lambda x: x.nbytes, heavy=True)  # holds every layer of the default network
def activations(name: str, layer: str, token: Token) -> torch.Tensor:
    """Record the layer's float input for every calibration image, (N, C, H, W)."""
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
    """Count the values of a layer's float input, by channel and image."""
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
    """Measure the mismatch of every quantized layer's float input over the calibration images."""
    images = calibration_images(scale_of(name), token=token)
    return core.mismatch(network(name, token=token), images, list(layer_channels(name)), token.progress)
