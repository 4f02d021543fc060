"""Choices -> quantized networks and their pictures, cached over all sessions."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import core
from core.analysis.cost import Call, effective_activation_bits, effective_weight_bits, layer_calls
from core.analysis.sensitivity import Sensitivity
from core.images import to_tensor, to_uint8
from core.networks.tiles import Difference
from core.ptq.methods import TRAINED
from core.qat.frozen import quantized_before
from core.zoo import model_card
from explorer.choices.catalog import NETWORKS, layer_channels, scale_of, trained, without_truth
from explorer.choices.state import HAND, LARGE, ExplorerState
from explorer.choices.visitor_files import file_name, is_uploaded
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline.activations import (
    ReadOnly,
    calibration_images,
    network,
    observer,
    pair,
    trained_network,
    unless_packaged,
)
from explorer.pipeline.names import TITLES, references
from explorer.pipeline.points import chosen_points, of_activations, replaced, selection
from explorer.pipeline.regions import TILE

TRUTH, FLOAT_SR = "ground truth", "float SR"  # what pictures are scored against


class Hand(NamedTuple):
    """Points that a person chose for a layer, or for one of its channels."""

    layer: str
    channel: int | None
    points: tuple[int, ...]  # in steps of the universal set's grid

    @classmethod
    def of(cls, state: ExplorerState) -> Hand | None:
        """Return the points by hand of the state; None while the selector's are used."""
        points = state.by_hand()
        return cls(state.layer, None if state.hand_layer else state.channel, points) if points else None


class QuantizedRequest(NamedTuple):
    """The arguments of `quantized`."""

    network: str
    config: core.QuantConfig
    float_layers: tuple[str, ...] = ()
    hand: Hand | None = None
    own: tuple[str, ...] = ()


@shared(
    6e8,
    lambda model: sum(t.nbytes for t in (*model.parameters(), *model.buffers())),
    as_key=QuantizedRequest,
)
def quantized(
    name: str,
    config: core.QuantConfig,
    float_layers: tuple[str, ...],
    hand: Hand | None = None,
    own: tuple[str, ...] = (),
    *,
    token: Token,
) -> torch.nn.Module:
    """Quantize a network, its `float_layers` left float; ValueError where training has quantized them.

    own: as of `activations.calibration_images`.
    """
    if config.method in TRAINED:
        if float_layers:
            raise ValueError(
                f"{config.method} was trained with all its layers quantized; untick all of Keep float"
            )
        return trained_network(name, config, token=token)
    observers = {}
    layers = [layer for layer in layer_channels(name) if layer not in float_layers]
    if not layers:
        return network(name, token=token)
    for done, layer in enumerate(layers):
        if config.from_subset:
            token.progress("Choosing points", done / len(layers))
            chosen = selection(name, layer, of_activations(config.for_layer(layer)), own, token=token)
            if hand and hand.layer == layer:
                chosen = replaced(chosen, hand.channel, np.array(hand.points) * config.universal_set.step)
            observers[layer] = chosen_points(chosen)
        else:
            observers[layer] = observer(name, layer, config, own, token=token)
    images = calibration_images(name, own, token=token)
    made = core.Calibration(config, observers, {}, images)
    return core.quantize_model(network(name, token=token), made, config, layers, token.progress)


@dataclasses.dataclass(frozen=True)
class Picture(ReadOnly):
    """A picture and its scores against the reference; PSNR and SSIM are None for the reference itself."""

    rgb: np.ndarray  # (H, W, 3) uint8
    psnr: float | None
    ssim: float | None
    against: str = TRUTH
    # Bits a weight and an activation with side information, where they differ from the bits, to two digits.
    effective: tuple[float, float] | None = None
    tiles: Difference | None = None  # from the picture of the whole, where tiles differ to be seen


class PictureRequest(NamedTuple):
    """One picture: `what` of a region of an image, at the scale of a network.

    what: "hr", "bicubic", "float", or the configuration of the quantized network. float_layers are then not
    quantized, and those of `hand` have points by hand. own: as of `activations.calibration_images`.
    """

    network: str
    image: str
    region: str
    what: str | core.QuantConfig
    float_layers: tuple[str, ...] = ()
    hand: Hand | None = None
    own: tuple[str, ...] = ()

    @property
    def reference(self) -> PictureRequest:
        """The picture that this one is scored against."""
        return PictureRequest(self.network, self.image, self.region, reference(self.image))


@shared(2.5e8, lambda picture: picture.rgb.nbytes, as_key=PictureRequest)
def picture(
    name: str,
    image: str,
    region: str,
    what: str | core.QuantConfig,
    float_layers: tuple[str, ...] = (),
    hand: Hand | None = None,
    own: tuple[str, ...] = (),
    *,
    token: Token,
) -> Picture:
    """Compute the picture of a `PictureRequest`, whose fields are the arguments."""
    scale = scale_of(name)
    _, lr, hr = pair(image, scale, region, token=token)
    if what == "hr":
        if hr is None:
            raise ValueError(f"{file_name(image)} is an LR image without ground truth")
        return Picture(to_uint8(hr)[0], None, None)
    if what == "bicubic":
        sr, tiles = core.bicubic(lr, scale), None
    else:
        if what == "float":
            model = network(name, token=token)
        else:
            model = quantized(name, what, float_layers, hand, own, token=token)
        token.check()
        sr, tiles = by_tiles(model, lr, token)
    if hr is None and what == "float":
        return Picture(to_uint8(sr)[0], None, None, FLOAT_SR, tiles=tiles)
    shown = dataclasses.replace(scored(sr, name, image, region, token), tiles=tiles)
    if isinstance(what, str):
        return shown
    if not core.is_quantized(model):
        return shown
    made = layer_calls(model) if what.method in TRAINED else calls(name, token=token)
    spent = effective_weight_bits(model), effective_activation_bits(model, made, *lr.shape[-2:])
    found = round(spent[0], 2), round(spent[1], 2)
    bits = what.weight_bits, what.activation_bits
    return dataclasses.replace(shown, effective=None if found == bits else found)


@shared(1e6, lambda made: 200 * len(made))
def calls(name: str, *, token: Token) -> list[Call]:
    """Return the calls of a network's layers, by which effective bits are counted."""
    return layer_calls(network(name, token=token))


def reference(image: str) -> str:
    """Return `what` the other pictures of the image are scored against."""
    return "float" if without_truth(image) else "hr"


def tiles(state: ExplorerState) -> list[str | int]:
    """List the pictures of the tab Explore in their order, by word or bits; those of its comparison apart."""
    hand = [HAND] if Hand.of(state) else []
    return [*references(state.image, *state.references), *state.shown_bits(), *hand]


def requests(state: ExplorerState) -> dict[str | int, PictureRequest | str]:
    """List the pictures that the tab Explore needs by word or bits; a sentence where one cannot be.

    Besides those of `tiles`: the float network's, which the others are compared with, that of `reference`,
    and the two of the comparison, if that is open.
    """
    where, kept, hand = (state.network, state.image, state.region), tuple(state.float_layers), Hand.of(state)
    configs = state.configs()

    def request(key: str | int) -> PictureRequest | str:
        if key in TITLES:
            return PictureRequest(*where, key)
        bits = state.activation_bits if key == HAND else key
        try:
            edited = hand if key == HAND else None
            return PictureRequest(*where, configs(bits), kept, edited, tuple(state.calibration))
        except ValueError as error:  # the universal set is too small
            return str(error)

    sides = [state.picture_key(side) for side in ("left", "right")] if state.is_open(LARGE) else []
    keys = dict.fromkeys(["float", reference(state.image), *tiles(state), *sides])
    return {key: request(key) for key in keys}


def scored(sr: torch.Tensor, name: str, image: str, region: str, token: Token) -> Picture:
    """Score a super-resolved region (1, 3, H, W) against its reference."""
    best = picture(name, image, region, reference(image), token=token)
    return shown_picture(sr, to_tensor(best.rgb.copy()), scale_of(name), best.against)


def by_tiles(
    model: torch.nn.Module, lr: torch.Tensor, token: Token
) -> tuple[torch.Tensor, Difference | None]:
    """Super-resolve, large images in tiles; return the SR, and how tiles differ from the whole image."""
    differences: list[Difference] = []
    sr = core.super_resolve(
        model,
        lr,
        TILE,
        lambda share: token.progress("Super-resolving in tiles", share),
        tell=differences.append,
    )
    return sr, differences[0] if differences else None


@shared(64, as_key=unless_packaged)
def sensitivity(
    name: str, image: str, region: str, config: core.QuantConfig, own: tuple[str, ...] = (), *, token: Token
) -> tuple[float, dict[str, Sensitivity]]:
    """Measure the picture's error with all layers quantized, and what each layer contributes.

    own: as of `activations.calibration_images`.
    """
    if config.method in TRAINED:
        raise ValueError(f"The layers of {config.method} were trained together; choose a calibrated method")
    made = quantized(name, config, (), None, own, token=token)
    _, lr, _ = pair(image, scale_of(name), region, token=token)
    return core.sensitivity(network(name, token=token), made, [lr], token.progress, TILE)


@shared(1e8, lambda picture: picture.rgb.nbytes)
def training_picture(name: str, image: str, region: str, what: str, run: str, token: Token) -> Picture:
    """Compute the picture before or after a training.

    what: "before" or "after"; run: the name of a bundled training, or the path of its files.
    """
    _, lr, _ = pair(image, scale_of(name), region, token=token)
    if what == "before":
        model = quantized_before(network(name, token=token), training_card(name, run))
    elif bundled_card(name, run) is not None:
        model = core.create_model(*NETWORKS[name], run)
    else:
        # An uploaded network's file does not always say all that its class needs.
        known = network(name, token=token) if is_uploaded(name) else None
        model = core.load_quantized(f"{run}.safetensors", known)
    token.check()
    sr, tiles = by_tiles(model, lr, token)
    return dataclasses.replace(scored(sr, name, image, region, token), tiles=tiles)


def training_card(name: str, run: str) -> dict:
    """Read the card and record of a training; arguments as of `training_picture`."""
    card = bundled_card(name, run)
    return json.loads(Path(f"{run}.json").read_text()) if card is None else card


@functools.cache
def bundled_card(name: str, run: str) -> dict | None:
    """Return the card of a bundled training; None for a visitor's own."""
    return model_card(*NETWORKS[name], run) if run in trained(name) else None


def shown_picture(sr: torch.Tensor, hr: torch.Tensor, scale: int, against: str = TRUTH) -> Picture:
    """Score an SR image (1, 3, H, W) against `hr`; `against` says in words what `hr` is."""
    psnr, ssim = core.psnr_y(sr, hr, border=scale), core.ssim_y(sr, hr, border=scale)
    return Picture(to_uint8(sr)[0], psnr, ssim, against)


def difference(a: Picture, b: Picture) -> np.ndarray:
    """Return the mean absolute difference of two pictures over RGB, (H, W) in 8-bit levels."""
    return np.abs(a.rgb.astype(np.int16) - b.rgb).mean(2).astype(np.float32)
