"""What a network must do so that it can be shown; a ValueError says in a sentence what it does not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

import core
from core.ptq.scope import channel_dim_of, input_channels

SIDE = 32  # LR pixels of the image that a network is tried on


def example() -> torch.Tensor:
    """Return an image to try a network on, (1, 3, SIDE, SIDE)."""
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def tried(name: str, model: nn.Module) -> tuple[int, torch.Tensor]:
    """Return the scale of a network that enlarges images, and the picture of `example`.

    ValueError for NaN and for a picture that is not larger by a whole factor, as `core.super_resolve`.
    """
    sr = core.super_resolve(model, example())
    if not torch.isfinite(sr).all():
        raise ValueError(f"{name} gives a picture with NaN or infinite values; load other weights")
    return sr.shape[-1] // SIDE, sr


def convolutions(name: str, kind: str, model: nn.Module, layers: Sequence[str]) -> dict[str, int]:
    """Return the input channels of layers that can be shown; ValueError unless all are convolutions."""
    modules = {layer: model.get_submodule(layer) for layer in layers}
    if not modules or any(channel_dim_of(module) != -3 for module in modules.values()):
        raise ValueError(
            f"{name} holds {kind}, whose layers to quantize are not all convolutions, and only these can be "
            "shown here; use core.quantize_model in Python"
        )
    return {layer: input_channels(module) for layer, module in modules.items()}
