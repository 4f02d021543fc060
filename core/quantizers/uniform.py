"""Uniform quantizers of fixed ranges, which calibration or training chose.

Each simulates quantization: float in, float out, the output restricted to `2**bits` levels. Quantizers that
normalize by each input are in `core.quantizers.normalized`, `core.quantizers.daq` and
`core.quantizers.microscaling`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from core.quantizers.lookup import is_compiled, straight_through, uniform_levels
from core.quantizers.normalization import SIDE_BITS


def uniform(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, bits: int) -> torch.Tensor:
    """Return q(x; l, u) = round((clip(x, l, u) - l) / s) * s + l with s = (u - l) / (2^bits - 1).

    low, high: broadcast against x. If l = u every value becomes l.
    """
    scale = (high - low) / (2**bits - 1)
    divisor = torch.where(scale > 0, scale, torch.ones_like(scale))
    steps = (torch.clamp(x, low, high) - low) / divisor
    return straight_through(steps, steps.detach().round()) * scale + low


def by_channel(values: torch.Tensor, x: torch.Tensor, channel_dim: int) -> torch.Tensor:
    """Reshape values (C,) or () so that they broadcast against x."""
    if values.ndim == 0:
        return values
    return values.view([-1 if d == channel_dim % x.ndim else 1 for d in range(x.ndim)])


class UniformQuantizer(nn.Module):
    """A static uniform quantizer of activations: one range for the tensor or for each channel.

    low, high: a number, or (C,) for the channels at `channel_dim`.
    """

    dynamic = False

    def __init__(self, low, high, bits: int, channel_dim: int = 1):
        super().__init__()
        self.bits, self.channel_dim = bits, channel_dim
        self.register_buffer("low", torch.as_tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.as_tensor(high, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the levels, of its shape; the gradient passes straight through within the range."""
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
        """Return the bits of stored constants."""
        return sum(SIDE_BITS * buffer.numel() for buffer in self.buffers())

    def side_information(self, x: torch.Tensor) -> int:
        """Return the bits that an input like x needs besides its codes."""
        return self.constants()

    def extra_repr(self) -> str:
        """Return the settings that `print` shows."""
        ranges = f"low={self.low.mean():.4g}, high={self.high.mean():.4g}"
        return f"bits={self.bits}, {ranges}" + (f", {len(self.low)} channels" if self.low.ndim else "")


class OffsetQuantizer(UniformQuantizer):
    """A static uniform quantizer with another input range for every channel, and the same levels for all.

    low, high: (C,), the input of the first and last code; level_low, level_high: the output of these codes,
    one number for all channels, so that the convolution still needs only one scale.
    """

    def __init__(self, low, high, level_low, level_high, bits: int, channel_dim: int = 1):
        super().__init__(low, high, bits, channel_dim)
        self.register_buffer("level_low", torch.as_tensor(level_low, dtype=torch.float32))
        self.register_buffer("level_high", torch.as_tensor(level_high, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x moved to the common range and put on its levels, of x's shape."""
        low, high = (by_channel(end.to(x.dtype), x, self.channel_dim) for end in (self.low, self.high))
        scale = (self.level_high - self.level_low) / (high - low)
        moved = (x - low) * scale + self.level_low
        return uniform(moved, self.level_low.to(x.dtype), self.level_high.to(x.dtype), self.bits)
