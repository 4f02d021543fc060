"""Products of two activations, as in attention: places where a network multiplies without weights."""

from __future__ import annotations

import torch
from torch import nn


class Operand(nn.Module):
    """A place where an activation (..., channels) enters a product; it returns what it gets.

    Quantization treats it as a layer without weights: its input is quantized.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x."""
        return x

    def extra_repr(self) -> str:
        """Return the settings that `print` shows."""
        return f"channels={self.channels}"


class Product(nn.Module):
    """The product of two activations, whose operands can be quantized: `left` and `right`.

    left, right: the sizes of their last dimensions. transposed: multiply by the transpose of the right one.
    """

    def __init__(self, left: int, right: int, transposed: bool = False):
        super().__init__()
        self.left, self.right, self.transposed = Operand(left), Operand(right), transposed

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return left @ right (..., M, N) of (..., M, K) and (..., K, N), or (..., N, K) if transposed."""
        left, right = self.left(left), self.right(right)
        return left @ (right.transpose(-2, -1) if self.transposed else right)
