"""Networks of another range than [0, 1], such as 0 to 255, as networks of [0, 1]."""

from __future__ import annotations

import functools

import torch
from torch import nn

from core.networks.folding import fold_parametrizations
from core.networks.running import check_network, image_alone

SIDE = 48  # pixels of the image that the network is tried on


def unit_range(model: nn.Module, top: float, scale: int | None = None) -> nn.Module:
    """Return a copy that takes and returns images in [0, 1], of a network of images in [0, top].

    Its layers keep their names, and weight norms are folded. The copy returns the picture alone. `scale` is
    for networks whose forward asks for it. ValueError for what is no network or does not run.

    >>> import torch
    >>> from core import create_model, unit_range
    >>> lr, model = torch.rand(1, 3, 24, 24), create_model("xlsr", 3)
    >>> unit_range(model, 1.0)(lr).shape
    torch.Size([1, 3, 72, 72])
    """
    check_network(model)
    if not top > 0:
        raise ValueError(f"the range must end above 0, such as 255, got {top}")
    images = top * torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    made = image_alone(fold_parametrizations(model), images, scale)
    made.register_forward_pre_hook(functools.partial(_enlarge, top))
    made.register_forward_hook(functools.partial(_reduce, top))
    return made


def _enlarge(top: float, module: nn.Module, args: tuple) -> tuple:
    return (args[0] * top, *args[1:])


def _reduce(top: float, module: nn.Module, args: tuple, picture: torch.Tensor) -> torch.Tensor:
    return picture / top
