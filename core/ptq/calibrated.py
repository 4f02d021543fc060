"""The result of a calibration, and whether it serves a configuration and a choice of layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from core.ptq.config import QuantConfig
from core.ptq.observers import Observer
from core.ptq.scope import Layers, choose_layers

NEVER_CALLED = "never called during calibration"


class Calibration(NamedTuple):
    """The result of a calibration: an observer per layer, and why other layers stay float.

    One calibration serves every number of bits, selector and seed, and every choice among its layers. It
    keeps the images if they are a tensor or a list or the configuration refines the weights, else the first.
    """

    config: QuantConfig
    observers: dict[str, Observer]
    reasons: dict[str, str]
    images: torch.Tensor | Iterable[torch.Tensor] | None = None
    first: torch.Tensor | None = None


def restricted(
    model: nn.Module, calibration: Calibration, config: QuantConfig, layers: Layers
) -> Calibration:
    """Return `calibration` with the chosen layers alone; ValueError if it does not fit."""
    made_for = calibration.config
    if not config.float_activations:
        if made_for.float_activations:
            raise ValueError(
                "the calibration was made for float activations; calibrate again with 2 to 8 bits"
            )
        if made_for.observed != config.observed:
            raise ValueError(
                f"the calibration was made for {_describe_observed(made_for)}, not for "
                f"{_describe_observed(config)}; calibrate again"
            )
    if config.recipe.refine and calibration.images is None:
        raise ValueError(f"the calibration keeps no images to refine the weights on; calibrate for {config}")
    unknown_layers = calibration.observers.keys() - dict(model.named_modules()).keys()
    if unknown_layers:
        raise ValueError(
            f"the calibration is of another network: this one has no {', '.join(sorted(unknown_layers))}"
        )
    if layers is None:
        check_names(config, calibration.observers, calibration.reasons)
        return calibration
    names, reasons = choose_layers(model, layers, None)
    check_names(config, names, reasons)
    never_called = {n: NEVER_CALLED for n in names if calibration.reasons.get(n) == NEVER_CALLED}
    missing = [n for n in names if n not in calibration.observers and n not in never_called]
    if missing:
        raise ValueError(f"the calibration does not cover {', '.join(missing)}; calibrate with these layers")
    observers = {n: o for n, o in calibration.observers.items() if n in names}
    return calibration._replace(config=config, observers=observers, reasons=reasons | never_called)


def check_names(config: QuantConfig, names: Iterable[str], reasons: dict[str, str]) -> None:
    """Raise ValueError if the configuration has bits for a layer that is not among those to quantize."""
    for name, _, _ in config.layer_bits:
        if name in names or reasons.get(name) == NEVER_CALLED:
            continue
        if name in reasons:
            raise ValueError(
                f"layer_bits has {name}, which stays float ({reasons[name]}); "
                "leave it out, or name it in layers"
            )
        raise ValueError(
            f"layer_bits has {name}, and no such layer is quantized; there are {', '.join(names)}"
        )


def _describe_observed(config: QuantConfig) -> str:
    """Describe `config.observed` in words, for an error."""
    kind, *settings = config.observed
    if kind not in ("image", "block"):
        return f"{kind} ranges" if kind in ("static", "percentile") else f"normalization {kind!r}"
    block, side_bits, step = settings
    side = f" of {block} pixels" if block else ""
    return (
        f"normalization {kind!r}{side}, {side_bits} bits of side information, a grid of 1/{round(1 / step)}"
    )
