"""When a regularizer's gradient may join that of reconstruction (ODM, arXiv 2307.13337).

Pulling a network's features together makes it easy to quantize, which is not what makes its pictures right:
many parameters are pulled two ways. ODM lets the regularizer act only where it helps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def mismatch_penalty(x: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """||X - q(X)||_2 of a layer (v2).

    q(X) is held fixed: rounding has no gradient of its own, and with the straight-through one a value within
    the range would feel nothing. So every value is drawn to its level, and a clipped one to the range.
    """
    return (x - quantized.detach()).flatten().norm()


def variance_penalty(x: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """Standard deviation of a layer's features (v1)."""
    return x.std(correction=0)


PENALTIES = {"mismatch": mismatch_penalty, "variance": variance_penalty}


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Of the angle between two tensors taken as vectors; 0 where one of them is 0."""
    norm = a.norm() * b.norm()
    return torch.where(norm > 0, (a * b).sum() / norm.clamp_min(torch.finfo(norm.dtype).tiny), 0.0)


def conflict(reconstruction: torch.Tensor, regularizer: torch.Tensor) -> torch.Tensor:
    """Share of the elements whose two gradients have opposite signs."""
    return (reconstruction.sign() * regularizer.sign() < 0).float().mean()


def naive(reconstruction: torch.Tensor, regularizer: torch.Tensor) -> torch.Tensor:
    """The whole gradient of the regularizer."""
    return regularizer


def by_angle(reconstruction: torch.Tensor, regularizer: torch.Tensor) -> torch.Tensor:
    """v2: weighted by (cos + 1) / 2 of the two gradients of the parameter tensor."""
    return (cosine(reconstruction, regularizer) + 1) / 2 * regularizer


def by_sign(reconstruction: torch.Tensor, regularizer: torch.Tensor) -> torch.Tensor:
    """v1: only the elements whose sign agrees with that of reconstruction."""
    return regularizer * (reconstruction.sign() * regularizer.sign() > 0)


# What of the regularizer's gradient is added to the reconstruction's, each a tensor of the parameter's shape.
COOPERATION: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "naive": naive,
    "angle": by_angle,
    "sign": by_sign,
}
