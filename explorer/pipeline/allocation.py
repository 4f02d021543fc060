"""Bits by layer under a budget, and what they cost: choices -> data, cached over all sessions."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping

import numpy as np
from torch import nn

import core
from core.analysis.allocation import BitAllocator
from core.analysis.cost import EffectiveCost, effective_cost
from core.ptq.methods import TRAINED
from core.ptq.observers import Observer
from explorer.choices.catalog import layer_channels
from explorer.choices.layer_bits import Bits
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline import pictures
from explorer.pipeline.activations import (
    calibrated_on,
    calibration_images,
    network,
    observer,
    unless_packaged,
)
from explorer.pipeline.kept import kept
from explorer.pipeline.points import chosen_points, of_activations, selection

BUDGETS = (50, 65, 80, 100, 125, 150)  # percent, of the curve
TOGETHER = "The layers of {} were trained together; choose a calibrated method"
UNIFORM = (2, 3, 4, 5, 6)  # bits, of the curve


class Selected(Observer):
    """A stand-in for a layer's observer that takes its points, for any bits, from the cache."""

    def __init__(self, name: str, layer: str, config: core.QuantConfig, own: tuple[str, ...], token: Token):
        self._where, self._own = (name, layer), own
        self.post_relu = self._selection(config, token).post_relu

    def _selection(self, config: core.QuantConfig, token: Token | None = None):
        return selection(*self._where, of_activations(config), self._own, token=token)

    def quantizer(self, config: core.QuantConfig) -> nn.Module:
        """Return the quantizer to the points of that configuration."""
        return chosen_points(self._selection(config)).quantizer(config)


@dataclasses.dataclass(frozen=True)
class _Turns:
    """An allocator, and the lock that its users take turns by."""

    allocator: BitAllocator
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


@shared(4, as_key=unless_packaged)
def _allocator(
    name: str,
    config: core.QuantConfig,
    unit: str,
    float_layers: tuple[str, ...],
    own: tuple[str, ...] = (),
    *,
    token: Token,
) -> _Turns:
    layers = [layer for layer in layer_channels(name) if layer not in float_layers]
    if not layers:
        raise ValueError("Every layer is kept float, so there are no bits to allocate; untick some")
    observers: dict[str, Observer] = {}
    for done, layer in enumerate(layers):
        token.progress("Choosing points" if config.from_subset else "Calibrating", done / len(layers))
        if config.from_subset:
            observers[layer] = Selected(name, layer, config, own, token)
        else:
            observers[layer] = observer(name, layer, config, own, token=token)
    images = calibration_images(name, own, token=token)
    calibration = core.Calibration(config, observers, {}, images, images[:1])
    model = network(name, token=token)
    return _Turns(BitAllocator(model, calibration, config, unit, layers, token.progress))


def _pack(found: core.QuantConfig) -> dict[str, np.ndarray]:
    return {"layer_bits": np.array(json.dumps(found.layer_bits))}


def _unpack(
    arrays: Mapping[str, np.ndarray], name: str, config: core.QuantConfig, *_, token: Token
) -> core.QuantConfig:
    rows = json.loads(arrays["layer_bits"].item())
    return dataclasses.replace(config, layer_bits=tuple((layer, *bits) for layer, *bits in rows))


@shared(256, as_key=unless_packaged)
@kept(_pack, _unpack, calibrated_on)
def allocated(
    name: str,
    config: core.QuantConfig,
    unit: str,
    budget: int,
    float_layers: tuple[str, ...] = (),
    own: tuple[str, ...] = (),
    *,
    token: Token,
) -> core.QuantConfig:
    """Return the configuration with the best bits by layer at `budget` percent of the cost of `config`.

    config: without bits by layer; unit: of `core.analysis.allocation.UNITS`. float_layers are not quantized;
    own: as of `activations.calibration_images`. What does not depend on the budget is measured once.
    """
    if config.method in TRAINED:
        raise ValueError(TOGETHER.format(config.method))
    turns = _allocator(name, config, unit, float_layers, own, token=token)
    while not turns.lock.acquire(timeout=0.05):
        token.check()
    try:
        return turns.allocator.allocate(budget / 100, token.progress)
    finally:
        turns.lock.release()


@shared(256, as_key=unless_packaged)
def spent(
    name: str,
    config: core.QuantConfig,
    float_layers: tuple[str, ...] = (),
    own: tuple[str, ...] = (),
    *,
    token: Token,
) -> EffectiveCost:
    """Return what the quantized layers cost, as the budget counts it."""
    return effective_cost(pictures.quantized(name, config, float_layers, None, own, token=token))


def bits_of(config: core.QuantConfig, layers: list[str]) -> dict[str, Bits]:
    """Return the bits of weights and activations of each layer."""
    found = {}
    for layer in layers:
        own = config.for_layer(layer)
        found[layer] = own.weight_bits, own.activation_bits
    return found
