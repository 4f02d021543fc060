"""Static quantizers: ranges and levels are fixed by calibration or training.

Each simulates quantization: float in, float out, the output restricted to `2**bits` levels. What takes its
normalization from each input is in `core.quantizers.normalized`, `core.quantizers.daq` and
`core.quantizers.microscaling`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from core.quantizers.lookup import is_compiled, nearest_levels, uniform_levels
from core.quantizers.normalization import SIDE_BITS


class Round(torch.autograd.Function):
    """Round to nearest; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


def uniform(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, bits: int) -> torch.Tensor:
    """Return q(x; l, u) = round((clip(x, l, u) - l) / s) * s + l with s = (u - l) / (2^bits - 1).

    low, high: broadcast against x. Where l = u every value becomes l.
    """
    scale = (high - low) / (2**bits - 1)
    divisor = torch.where(scale > 0, scale, torch.ones_like(scale))
    return Round.apply((torch.clamp(x, low, high) - low) / divisor) * scale + low


def by_channel(values: torch.Tensor, x: torch.Tensor, channel_dim: int) -> torch.Tensor:
    """Shape (C,) or () so that it broadcasts against x."""
    if values.ndim == 0:
        return values
    return values.view([-1 if d == channel_dim % x.ndim else 1 for d in range(x.ndim)])


class UniformQuantizer(nn.Module):
    """Static uniform quantizer of activations, fixed by calibration: one range a tensor or a channel.

    low, high: a number, or (C,) for the channels at `channel_dim`.
    """

    dynamic = False

    def __init__(self, low, high, bits: int, channel_dim: int = 1):
        super().__init__()
        self.bits, self.channel_dim = bits, channel_dim
        self.register_buffer("low", torch.as_tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.as_tensor(high, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = (by_channel(end.to(x.dtype), x, self.channel_dim) for end in (self.low, self.high))
        if is_compiled(x) and not (torch.is_grad_enabled() and x.requires_grad):
            return uniform_levels(x, low, high, self.bits, self.channel_dim)
        return uniform(x, low, high, self.bits)

    def settings(self) -> dict:
        """Return the arguments of the constructor that are not tensors."""
        return {"bits": self.bits, "channel_dim": self.channel_dim}

    def levels(self, channel: int) -> np.ndarray:
        """Return the sorted levels of the channel."""
        low, high = (float(end[channel] if end.ndim else end) for end in (self.low, self.high))
        return np.linspace(low, high, 2**self.bits)

    def constants(self) -> int:
        """Return the bits that are stored once."""
        return sum(SIDE_BITS * buffer.numel() for buffer in self.buffers())

    def side_information(self, x: torch.Tensor) -> int:
        """Return the bits that an input like x needs beside its codes."""
        return self.constants()

    def extra_repr(self) -> str:
        ranges = f"low={self.low.mean():.4g}, high={self.high.mean():.4g}"
        return f"bits={self.bits}, {ranges}" + (f", {len(self.low)} channels" if self.low.ndim else "")


class OffsetQuantizer(UniformQuantizer):
    """Static uniform quantizer whose codes begin at another value in every channel, but mean the same.

    low, high: (C,), what the first and last code stand for at the input; level_low, level_high: what they
    become, one number for all channels, so that the convolution still needs one scale.
    """

    def __init__(self, low, high, level_low, level_high, bits: int, channel_dim: int = 1):
        super().__init__(low, high, bits, channel_dim)
        self.register_buffer("level_low", torch.as_tensor(level_low, dtype=torch.float32))
        self.register_buffer("level_high", torch.as_tensor(level_high, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = (by_channel(end.to(x.dtype), x, self.channel_dim) for end in (self.low, self.high))
        scale = (self.level_high - self.level_low) / (high - low)
        moved = (x - low) * scale + self.level_low
        return uniform(moved, self.level_low.to(x.dtype), self.level_high.to(x.dtype), self.bits)


class LevelQuantizer(nn.Module):
    """Static quantizer of activations to the nearest of sorted levels.

    points: (k,) for every channel, or (C, k) for those at `channel_dim`. stored: bits of the numbers that
    say what they are; by default each level takes as many as any side information.
    """

    dynamic = False

    def __init__(
        self, points: np.ndarray | torch.Tensor, bits: int, channel_dim: int = 1, stored: int | None = None
    ):
        super().__init__()
        self.bits, self.channel_dim = bits, channel_dim
        self.register_buffer("points", torch.as_tensor(points, dtype=torch.float32))
        self.stored = SIDE_BITS * self.points.numel() if stored is None else stored

    def settings(self) -> dict:
        """Return the arguments of the constructor that are not tensors."""
        return {"bits": self.bits, "channel_dim": self.channel_dim, "stored": self.stored}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        points = self.points.to(x.dtype)
        one = x.new_ones([1] * x.ndim)
        return nearest_levels(
            x, torch.zeros_like(one), one, points.view(-1, points.shape[-1]), self.channel_dim
        )

    def levels(self, channel: int) -> np.ndarray:
        """Return the sorted levels of the channel."""
        points = self.points.double().numpy(force=True)
        return points if points.ndim == 1 else points[channel % len(points)]

    def constants(self) -> int:
        """Return the bits that are stored once."""
        return self.stored

    def side_information(self, x: torch.Tensor) -> int:
        """Return the bits that an input like x needs beside its codes."""
        return self.constants()

    def extra_repr(self) -> str:
        return f"bits={self.bits}, {self.points.shape[-1]} levels to {self.points[..., -1].mean():.4g}"
