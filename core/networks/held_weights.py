"""Hold the quantized weights of a layer although the network overwrites them in its forward.

Re-parameterized networks such as SPAN (arXiv 2311.12770) merge their training branches into one conv at every
forward, which would overwrite the quantized weight of that conv before it is used.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from core.networks.running import run

CORNER = 24  # pixels: small, so that quantizing from a calibration still takes a tenth of a second


class _Held:
    """A layer whose `weight` and `bias` read as copies, so that writing into them changes nothing."""

    @property
    def weight(self) -> torch.Tensor:
        """A copy of the weight."""
        return self._parameters["weight"].clone()

    @property
    def bias(self) -> torch.Tensor | None:
        """A copy of the bias, None if there is none."""
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
    """Make the layer keep its weight and bias, in place; ValueError for a class other than those of HELD."""
    if not is_held(module):
        if type(module) not in HELD:
            raise ValueError(f"the weight of a {type(module).__name__} cannot be held")
        module.__class__ = HELD[type(module)]


def is_held(module: nn.Module) -> bool:
    """Return whether the layer keeps its weight and bias (`hold`)."""
    return isinstance(module, _Held)


def settle(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Run the network once in eval mode, so that weights written in its forward hold their final values.

    It runs on a corner of the image, or on all of it if the network refuses so small an image. Returns the
    picture of it.
    """
    with _evaluating(model), torch.no_grad():
        try:
            return run(model, image[..., :CORNER, :CORNER])
        except ValueError:
            return run(model, image)


def hold_written(model: nn.Module, names: Sequence[str], image: torch.Tensor) -> None:
    """Hold those of the named layers whose weight or bias a forward on `image` (1, 3, H, W) overwrites.

    In place. ValueError with the names of layers that cannot be held.
    """
    written = _written(model, names, image)
    for name in written:
        with contextlib.suppress(ValueError):  # reported below
            hold(model.get_submodule(name))
    if written:
        _refuse(_written(model, names, image))


def refuse_written(model: nn.Module, names: Sequence[str], image: torch.Tensor) -> None:
    """Raise ValueError if a forward on `image` overwrites weights of the named layers."""
    trial = copy.deepcopy(model)
    with torch.no_grad():
        for name in names:  # so that they differ from what the network would write
            trial.get_submodule(name).weight.add_(1.0)
    _refuse(_written(trial, names, image))


def _refuse(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"the network writes the weights of {', '.join(names)} anew at every forward, so they cannot be "
            "quantized; merge its branches for good first, or name other layers"
        )


def _written(model: nn.Module, names: Sequence[str], image: torch.Tensor) -> list[str]:
    """Return which of the named layers a forward gives another weight or bias; they get their own back."""
    layers = {name: model.get_submodule(name) for name in names}
    before = {
        name: [None if v is None else v.detach().clone() for v in _values(m)] for name, m in layers.items()
    }
    settle(model, image)
    written = [name for name, module in layers.items() if not _same(before[name], _values(module))]
    for name in written:
        for tensor, own in zip(_values(layers[name]), before[name], strict=True):
            if tensor is not None:
                tensor.data = own  # not copied into it: what was written may be another layer's tensor
    return written


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
