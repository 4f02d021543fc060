"""Weights as rows, one per output channel, and the levels each row is rounded to."""

from __future__ import annotations

import torch
from torch import nn

from core.quantizers import uniform


def weight_rows(module: nn.Module) -> torch.Tensor:
    """The weight of a Conv2d, ConvTranspose2d or Linear as (out_channels, fan_in)."""
    weight = module.weight.detach()
    if isinstance(module, nn.ConvTranspose2d):  # (in, out / groups, ...), groups along `in`
        groups = module.groups
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)


def from_rows(rows: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """The inverse of `weight_rows`: rows in the shape of the module's weight."""
    if isinstance(module, nn.ConvTranspose2d):
        inputs, outputs, *kernel = module.weight.shape
        by_group = rows.view(module.groups, outputs, inputs // module.groups, *kernel)
        return by_group.transpose(1, 2).reshape(module.weight.shape)
    return rows.view(module.weight.shape)


def minmax(rows: torch.Tensor, bits: int) -> torch.Tensor:
    """Uniform levels from each row's lowest to its highest value (DFSQ's rule for weights)."""
    low, high = rows.aminmax(dim=1, keepdim=True)
    return uniform(rows, low, high, bits)
