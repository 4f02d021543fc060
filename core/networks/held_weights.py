"""Weights that stay as they were set, although the network writes them anew in its forward.

Re-parameterized networks such as SPAN (arXiv 2311.12770) merge the branches that they were trained with into
one conv at every forward: what quantization did to that conv's weight would be gone before it is used.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from core.networks.running import run

CORNER = 24  # pixels: quantizing from a calibration takes a tenth of a second, and should go on doing so


class _Held:
    """What is read as weight and bias is a copy, so that writing into it changes nothing."""

    @property
    def weight(self) -> torch.Tensor:
        return self._parameters["weight"].clone()

    @property
    def bias(self) -> torch.Tensor | None:
        bias = self._parameters["bias"]
        return None if bias is None else bias.clone()


class HeldConv2d(_Held, nn.Conv2d):
    """A Conv2d whose weight and bias cannot be written through `weight` and `bias`."""


class HeldConvTranspose2d(_Held, nn.ConvTranspose2d):
    """A ConvTranspose2d whose weight and bias cannot be written through `weight` and `bias`."""


class HeldLinear(_Held, nn.Linear):
    """A Linear whose weight and bias cannot be written through `weight` and `bias`."""


HELD = {nn.Conv2d: HeldConv2d, nn.ConvTranspose2d: HeldConvTranspose2d, nn.Linear: HeldLinear}


def hold(module: nn.Module) -> None:
    """Let the layer's weight and bias stay as they are, in place; ValueError for a class of its own kind."""
    if not is_held(module):
        if type(module) not in HELD:
            raise ValueError(f"the weight of a {type(module).__name__} cannot be held")
        module.__class__ = HELD[type(module)]


def is_held(module: nn.Module) -> bool:
    """Return whether the layer's weight and bias stay as they are."""
    return isinstance(module, _Held)


def settle(model: nn.Module, image: torch.Tensor) -> None:
    """Run the network once in eval mode, so that weights written in its forward are what it computes with.

    On a corner of the image, unless the network takes none so small.
    """
    with _evaluating(model), torch.no_grad():
        try:
            run(model, image[..., :CORNER, :CORNER])
        except ValueError:
            run(model, image)


def hold_written(model: nn.Module, names: Sequence[str], image: torch.Tensor) -> None:
    """Hold those of the named layers whose weight or bias a forward on `image` (1, 3, H, W) writes anew.

    In place. ValueError with their names where it cannot be kept.
    """
    layers = {name: model.get_submodule(name) for name in names}
    for name in _written(model, names, image):
        with contextlib.suppress(ValueError):  # found again below
            hold(layers[name])
    _refuse(_written(model, names, image))


def refuse_written(model: nn.Module, names: Sequence[str], image: torch.Tensor) -> None:
    """Raise ValueError if a forward on `image` writes weights of the named layers anew."""
    trial = copy.deepcopy(model)
    with torch.no_grad():
        for name in names:  # to other values than the network would write
            trial.get_submodule(name).weight.add_(1.0)
    _refuse(_written(trial, names, image))


def _refuse(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"the network writes the weights of {', '.join(names)} anew at every forward, so they cannot be "
            "quantized; merge its branches for good first, or name other layers"
        )


def _written(model: nn.Module, names: Sequence[str], image: torch.Tensor) -> list[str]:
    """Which layers have another weight or bias after a forward, on a copy."""
    trial = copy.deepcopy(model)
    settle(trial, image)
    pairs = {name: (model.get_submodule(name), trial.get_submodule(name)) for name in names}
    return [name for name, pair in pairs.items() if not _same(*map(_values, pair))]


def _values(module: nn.Module) -> list[torch.Tensor | None]:
    return [module.weight, module.bias]


def _same(a: list, b: list) -> bool:
    return all(x is y if x is None or y is None else torch.equal(x, y) for x, y in zip(a, b, strict=True))


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
