"""Networks, calibration and activations: choices -> data, cached over all sessions.

Every function takes plain, hashable choices and a `token` by which the caller may cancel and follow the
progress. Results are shared between sessions: read them, never change them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
import torch

import core
from core.analysis.comparison import fingerprint
from core.analysis.mismatch import Mismatch, Spreads
from core.images import to_tensor
from core.ptq.calibration import PATCHES, layer_inputs, patch_size, unwatched
from core.ptq.observers import Observer, observer_of
from core.ptq.quantize import layer_groups
from core.quantizers.normalization import Normalization
from explorer.choices import catalog
from explorer.choices.catalog import NETWORKS, layer_channels, scale_of, trained
from explorer.choices.region import WHOLE, Region
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline import regions
from explorer.pipeline.kept import fields, kept, values

VALUE_BINS = 256
CALIBRATED_SIDE = 2040  # pixels of the middle of a visitor's HR image that patches are cut from, at most
MARGIN = 4  # LR pixels around a region that its bicubic reduction looks at, and some to spare


def _bytes(calibration: core.Calibration) -> int:
    return sum(seen.nbytes for seen in calibration.observers.values()) + 1


def unless_packaged(*key) -> tuple:
    """Return a key without `own`, its last part, where that is empty: callers may leave it out."""
    return key[:-1] if key[-1] == () else key


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


@shared(64)
def weights_digest(name: str, token: Token) -> str:
    """Return a digest of the network's weights."""
    return fingerprint(network(name, token=token).state_dict().values())


def calibration_images(name: str, own: tuple[str, ...] = (), *, token: Token) -> torch.Tensor:
    """Return the LR images that a network is calibrated on.

    Those cut from a visitor's `own` images, else those that the network brings, else packaged ones.
    """
    brought = None if own else catalog.calibration_patches(name)
    return calibration_patches(scale_of(name), own, token=token) if brought is None else brought


@shared(4, as_key=unless_packaged)
@kept(lambda images: {"images": images.numpy()}, lambda arrays, *_, token: torch.from_numpy(arrays["images"]))
def calibration_patches(scale: int, own: tuple[str, ...] = (), *, token: Token) -> torch.Tensor:
    """Cut random LR patches from all packaged photographs, or from a visitor's own images.

    own: keys of uploaded images. ValueError if none is as large as a patch.
    """
    return core.calibration_patches(calibration_sources(scale, own), PATCHES, patch_size(scale))


def calibration_sources(scale: int, own: tuple[str, ...]) -> list[torch.Tensor]:
    """Return the LR images (1, 3, H, W) that patches are cut from; own: as of `calibration_patches`."""
    if own:
        return [_own_lr(key, scale) for key in own]
    return [core.make_lr(core.demo_image(name), scale) for name in core.demo_names()]


def _own_lr(key: str, scale: int) -> torch.Tensor:
    """Return the LR of an uploaded image: of its middle if it is large."""
    pixels = catalog.pixels(key)
    side = CALIBRATED_SIDE // scale if catalog.without_truth(key) else CALIBRATED_SIDE
    top, left = (max(0, (size - side) // 2) for size in pixels.shape[:2])
    image = to_tensor(pixels[top : top + side, left : left + side].copy())
    return image if catalog.without_truth(key) else core.make_lr(core.modcrop(image, scale), scale)


@shared(64)
def images_digest(name: str, token: Token) -> str:
    """Return a digest of the images that a network is calibrated on, where none are a visitor's own."""
    return fingerprint([calibration_images(name, token=token)])


def calibrated_on(name: str, *choices, token: Token) -> tuple[str, str]:
    """Return digests of the weights and the images that a statistic is of."""
    return weights_digest(name, token=token), images_digest(name, token=token)


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


def _pack_calibration(made: core.Calibration) -> dict[str, np.ndarray]:
    arrays = {
        f"{layer}|{name}": array
        for layer, seen in made.observers.items()
        for name, array in seen.arrays().items()
    }
    return arrays | {"reasons": np.array(json.dumps(made.reasons))}


def _unpack_calibration(
    arrays: Mapping[str, np.ndarray], name: str, seen: core.QuantConfig, group: int, *, token: Token
) -> core.Calibration:
    tables: dict[str, dict[str, np.ndarray]] = {}
    for place, array in arrays.items():
        layer, _, field = place.rpartition("|")
        tables.setdefault(layer, {})[field] = array
    reasons, observers = json.loads(tables.pop("")["reasons"].item()), {}
    for layer, table in tables.items():
        observers[layer] = observer_of(seen, -3)
        observers[layer].restore(table)
    images = calibration_images(name, token=token)
    return core.Calibration(seen, observers, reasons, images, images[:1])


@shared(2.2e9, _bytes, heavy=True, as_key=unless_packaged)
@kept(_pack_calibration, _unpack_calibration, calibrated_on)
def calibration(
    name: str, seen: core.QuantConfig, group: int, own: tuple[str, ...] = (), *, token: Token
) -> core.Calibration:
    """Calibrate one group of layers, on the packaged photographs or a visitor's `own` images.

    seen: that of `seen_by`. The same pass measures the mismatch, if the group holds all layers.
    """
    images, model = calibration_images(name, own, token=token), network(name, token=token)
    parts = groups(name, seen, token=token)

    def progress(what: str, share: float) -> None:
        token.progress(what, (group + share) / len(parts))

    progress("Calibrating", 0.0)
    spreads = Spreads(model, parts[group])
    watch = spreads.record if len(parts) == 1 else unwatched
    made = core.calibrate(model, images, seen, parts[group], progress, watch)
    if len(parts) == 1:
        found = spreads.mismatch()
        if token.wanted:
            mismatch.remember(name, own, value=found)
        mismatch.keep(name, own, value=found, token=token)
    return made


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


def observer(
    name: str, layer: str, config: core.QuantConfig, own: tuple[str, ...] = (), *, token: Token
) -> Observer:
    """Return the calibrated observer of the layer's input, as the configuration needs it."""
    seen = seen_by(config)
    parts = groups(name, seen, token=token)
    group = next(i for i, part in enumerate(parts) if layer in part)
    return calibration(name, seen, group, own, token=token).observers[layer]


@shared(
    7e8, lambda x: x.nbytes, heavy=True, as_key=unless_packaged
)  # holds every layer of the default network
def activations(name: str, layer: str, own: tuple[str, ...] = (), *, token: Token) -> torch.Tensor:
    """Record the layer's float input for every calibration image, (N, C, H, W)."""
    images = calibration_images(name, own, token=token)
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


@shared(64, as_key=unless_packaged)
@kept(fields, lambda arrays, *_, token: Distribution(**values(arrays)), calibrated_on)
def distribution(name: str, layer: str, own: tuple[str, ...] = (), *, token: Token) -> Distribution:
    """Count the values of a layer's float input, by channel and image."""
    x = activations(name, layer, own, token=token)
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


def _pack_mismatch(found: dict[str, Mismatch]) -> dict[str, np.ndarray]:
    return {"layers": np.array(list(found)), "spreads": np.array(list(found.values()))}


def _unpack_mismatch(arrays: Mapping[str, np.ndarray], *_, token: Token) -> dict[str, Mismatch]:
    rows = zip(arrays["layers"].tolist(), arrays["spreads"].tolist(), strict=True)
    return {layer: Mismatch(*spreads) for layer, spreads in rows}


@shared(16, as_key=unless_packaged)
@kept(_pack_mismatch, _unpack_mismatch, calibrated_on)
def mismatch(name: str, own: tuple[str, ...] = (), *, token: Token) -> dict[str, Mismatch]:
    """Measure the mismatch of every quantized layer's float input over the calibration images.

    A calibration of all layers has measured it along the way.
    """
    images = calibration_images(name, own, token=token)
    return core.mismatch(network(name, token=token), images, list(layer_channels(name)), token.progress)
