"""Weights of a file that are computed from others, as torch.nn.utils has them, made plain."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from core.models.state_dict import State


def _normed(magnitude: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Weight norm (arXiv 1602.07868): g v / ||v||, the norm over the dimensions that g has not."""
    over = [dim for dim in range(direction.ndim) if magnitude.ndim == 0 or magnitude.shape[dim] == 1]
    return magnitude * direction / direction.square().sum(over, keepdim=True).sqrt()


# What the names of the two tensors end with, and the weight that they stand for.
PAIRS: list[tuple[str, str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = [
    (r"parametrizations\.(\w+)\.original0", r"parametrizations.\1.original1", _normed),
    (r"(\w+)_g", r"\1_v", _normed),
    (r"(\w+)_orig", r"\1_mask", torch.mul),
]


def plain_weights(state: State) -> State:
    """Return the tensors with weight-normed and pruned weights as plain ones under their layers' own names.

    Pairs whose shapes do not fit stay as they are.
    """
    plain = dict(state)
    for name in state:
        layer, dot, last = _taken_apart(name)
        for first, second, weight in PAIRS:
            found = re.fullmatch(first, last)
            other = f"{layer}{dot}{found.expand(second)}" if found else ""
            if other in plain and name in plain and _fits(plain[name], plain[other]):
                made = weight(plain.pop(name).float(), plain.pop(other).float())
                plain[f"{layer}{dot}{found[1]}"] = made
    return plain


def _fits(magnitude: torch.Tensor, direction: torch.Tensor) -> bool:
    """Whether the product is no larger than the second of them."""
    sizes = zip(magnitude.shape, direction.shape, strict=False)
    return magnitude.ndim in (0, direction.ndim) and all(own in (1, whole) for own, whole in sizes)


def _taken_apart(name: str) -> tuple[str, str, str]:
    """Return the name of the layer, a dot if there is one, and the name of the tensor with torch's prefix."""
    at = name.find("parametrizations.")
    if at > 0:
        return name[: at - 1], ".", name[at:]
    return name.rpartition(".")
