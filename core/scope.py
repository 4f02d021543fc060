"""Which layers of a network are quantized, and why the others stay float."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from core.calibration import recorded
from core.running import run

# Layers that can be quantized, and the dimension of their input that holds its channels.
CHANNEL_DIM = {nn.Conv2d: -3, nn.ConvTranspose2d: -3, nn.Linear: -1}

Layers = Callable[[str, nn.Module], bool] | Iterable[str] | None


def channel_dim_of(module: nn.Module) -> int | None:
    """Where the module's input has its channels; None if it is no layer that can be quantized."""
    return next((dim for cls, dim in CHANNEL_DIM.items() if isinstance(module, cls)), None)


def input_channels(module: nn.Module) -> int:
    """How many channels the input of a layer that can be quantized has."""
    return module.in_features if isinstance(module, nn.Linear) else module.in_channels


def scope_of(model: nn.Module, layers: Layers) -> str:
    """In words, what `choose_layers` chooses."""
    if layers is not None:
        return "the layers that were asked for"
    if hasattr(model, "quantized_scope"):
        return getattr(model, "scope_in_words", f"what {type(model).__name__} declares")
    return "every conv but the first and the last that is called"


def choose_layers(
    model: nn.Module, layers: Layers, example: torch.Tensor | None
) -> tuple[list[str], dict[str, str]]:
    """The names of the layers to quantize, and the reason of every other layer that has weights.

    `example` (1, 3, H, W) is run to find the first and last conv where the class declares no scope.
    """
    modules = dict(model.named_modules())
    listed: set[str] = set()  # by name, so each one deserves an answer
    if layers is None:
        layers = getattr(model, "quantized_scope", None)
        if layers is None:
            inner = _called_convs(model, example)[1:-1]
            chosen = {name for name in modules if name in inner}
        else:
            chosen = {name for name, module in modules.items() if layers(name, module)}
    elif callable(layers):
        chosen = {name for name, module in modules.items() if layers(name, module)}
    else:
        aliases = dict(model.named_modules(remove_duplicate=False))
        canonical = {id(module): name for name, module in modules.items()}
        layers = [layers] if isinstance(layers, str) else list(layers)
        unknown = [name for name in layers if name not in aliases]
        if unknown:
            known = [name for name, module in modules.items() if channel_dim_of(module)]
            raise ValueError(f"no layer named {', '.join(unknown)}; there are {', '.join(known)}")
        chosen = listed = {canonical[id(aliases[name])] for name in layers}
    names, reasons = [], {}
    for name, module in modules.items():
        if channel_dim_of(module) is None:
            has_own = next(module.parameters(recurse=False), None) is not None
            if name in listed or (name in chosen and has_own):
                reasons[name] = f"{type(module).__name__} is not quantized here"
        elif "weight" not in module._parameters:
            reasons[name] = "its weight is computed, not stored"
        elif name in chosen:
            names.append(name)
        else:
            reasons[name] = "outside the scope"
    return names, reasons


@torch.no_grad()
def _called_convs(model: nn.Module, example: torch.Tensor) -> list[str]:
    """Names of the Conv2d layers in the order of their first call."""
    order: list[str] = []
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    with recorded(model, names, lambda name, x: order.append(name) if name not in order else None):
        run(model, example)
    return order
