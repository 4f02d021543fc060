"""The ODM loss: a regularizer, and how its gradient joins that of reconstruction (arXiv 2307.13337).

The regularizer makes a network easy to quantize, reconstruction makes its pictures right, and for many
parameters these pull in different directions. ODM applies the regularizer only where it helps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def mismatch_penalty(x: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """Return ||X - q(X)||_2 of a layer (v2).

    q(X) is held constant: rounding has no gradient of its own, and with the straight-through gradient a value
    within the range would get none. So every value is drawn to its level, and a clipped one to the range.
    """
    return (x - quantized.detach()).flatten().norm()


def variance_penalty(x: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """Return the standard deviation of a layer's features (v1)."""
    return x.std(correction=0)


PENALTIES = {"mismatch": mismatch_penalty, "variance": variance_penalty}


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the cosine of the angle between two tensors taken as vectors; 0 if one of them is 0."""
    norm = a.norm() * b.norm()
    return torch.where(norm > 0, (a * b).sum() / norm.clamp_min(torch.finfo(norm.dtype).tiny), 0.0)


def conflict(reconstruction: torch.Tensor, regularizer: torch.Tensor) -> torch.Tensor:
    """Return the share of elements whose two gradients have opposite signs."""
    return (reconstruction.sign() * regularizer.sign() < 0).float().mean()


def naive(reconstruction: torch.Tensor, regularizer: torch.Tensor) -> torch.Tensor:
    """Return the whole gradient of the regularizer."""
    return regularizer


def by_angle(reconstruction: torch.Tensor, regularizer: torch.Tensor) -> torch.Tensor:
    """Return the regularizer's gradient times (cos + 1) / 2 of the angle to the reconstruction's (v2)."""
    return (cosine(reconstruction, regularizer) + 1) / 2 * regularizer


def by_sign(reconstruction: torch.Tensor, regularizer: torch.Tensor) -> torch.Tensor:
    """Return the regularizer's gradient where its sign agrees with the reconstruction's, else 0 (v1)."""
    return regularizer * (reconstruction.sign() * regularizer.sign() > 0)


# name -> function of both gradients of a parameter that returns what is added to the reconstruction's.
COOPERATION: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "naive": naive,
    "angle": by_angle,
    "sign": by_sign,
}
