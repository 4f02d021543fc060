"""Sensitivity of the layers: how quantizing one layer alone, or all but one, changes the picture."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from core.analysis.evaluation import super_resolve
from core.images import luma, round_8bit
from core.networks.folding import fold_parametrizations
from core.ptq.scope import has_weights


class Sensitivity(NamedTuple):
    """Root mean squared error of the luma against the float network's picture, in 8-bit levels.

    only: with this layer alone quantized; weights, activations: with that part of it alone; all_but: with
    every layer quantized except this one.
    """

    only: float
    weights: float
    activations: float
    all_but: float


def sensitivity(
    model: nn.Module,
    quantized: nn.Module,
    images: Sequence[torch.Tensor],
    progress: Callable[[str, float], None] = lambda what, share: None,
    tile: int | None = None,
) -> tuple[float, dict[str, Sensitivity]]:
    """Return the error of `quantized` and the sensitivity of each layer, over LR images (1, 3, H, W).

    quantized: the result of `core.quantize_model` on `model`, else ValueError; both are unchanged. Weights
    that were solved for the quantized input of their layer (dfsq+) keep that solution even where the input is
    float. `progress(what, share)` may raise to cancel; `tile` as in `core.super_resolve`.
    """
    model = fold_parametrizations(model)
    names = [name for name, module in quantized.named_modules() if hasattr(module, "quantization")]
    theirs = dict(model.named_modules())
    if not names or any(name not in theirs for name in names):
        raise ValueError("sensitivity needs a float network and what quantize_model made of it")
    if not len(images):
        raise ValueError("sensitivity needs at least one LR image, got none")
    reference, whole = copy.deepcopy(model).eval(), copy.deepcopy(quantized).eval()
    pictures = [_picture(reference, image, tile) for image in images]

    def error(network: nn.Module) -> float:
        squares = [
            (_picture(network, image, tile) - picture).square().mean()
            for image, picture in zip(images, pictures, strict=True)
        ]
        return math.sqrt(float(torch.stack(squares).mean()))

    found = {}
    for done, name in enumerate(names):
        errors = []
        for part in _parts(reference, quantized, name):
            progress("Quantizing one layer at a time", (done + len(errors) / 4) / len(names))
            with exchanged(reference, name, part):
                errors.append(error(reference))
        with exchanged(whole, name, copy.deepcopy(model.get_submodule(name))):
            found[name] = Sensitivity(*errors, error(whole))
    return error(whole), found


def _picture(network: nn.Module, image: torch.Tensor, tile: int | None) -> torch.Tensor:
    """Return the luma in 8-bit levels, as it would be displayed."""
    return luma(round_8bit(super_resolve(network, image, tile)))


def _parts(model: nn.Module, quantized: nn.Module, name: str) -> Iterator[nn.Module]:
    """Yield the layer quantized: whole, its weights alone, its activations alone."""
    whole, plain = quantized.get_submodule(name), model.get_submodule(name)
    yield copy.deepcopy(whole)
    for layer, source in ((plain, whole), (whole, plain)):
        layer = copy.deepcopy(layer)
        # Registered tensors: read as attributes, those of a held layer are copies.
        tensors = dict(source.named_parameters(recurse=False))
        if has_weights(layer):
            layer.weight, layer.bias = tensors["weight"], tensors.get("bias")
        yield layer


@contextlib.contextmanager
def exchanged(network: nn.Module, name: str, module: nn.Module) -> Iterator[None]:
    """Replace the named layer by `module` while the context is open."""
    before = network.get_submodule(name)
    places = [path for path, other in network.named_modules(remove_duplicate=False) if other is before]
    for path in places:
        network.set_submodule(path, module)
    try:
        yield
    finally:
        for path in places:
            network.set_submodule(path, before)
