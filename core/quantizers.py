"""Quantizers: what replaces a layer's activations or weights by values of few bits.

Each simulates quantization: float in, float out, the output restricted to `2**bits` levels. Gradients pass
straight through.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from core.levels import gaussian_step
from core.lookup import Replace, nearest_points, nearest_points_in_blocks
from core.normalization import EPS, block_size, has_blocks, normalization, within_channel


class Round(torch.autograd.Function):
    """Round to nearest; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


def uniform(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, bits: int) -> torch.Tensor:
    """q(x; l, u) = round((clip(x, l, u) - l) / s) * s + l with s = (u - l) / (2^bits - 1); broadcasts l, u.

    Where l = u every value becomes l.
    """
    scale = (high - low) / (2**bits - 1)
    divisor = torch.where(scale > 0, scale, torch.ones_like(scale))
    return Round.apply((torch.clamp(x, low, high) - low) / divisor) * scale + low


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
        return uniform(x, low, high, self.bits)

    def settings(self) -> dict:
        """The arguments of the constructor that are not tensors."""
        return {"bits": self.bits, "channel_dim": self.channel_dim}

    def levels(self, channel: int) -> np.ndarray:
        """Sorted levels of the channel."""
        low, high = (float(end[channel] if end.ndim else end) for end in (self.low, self.high))
        return np.linspace(low, high, 2**self.bits)

    def extra_repr(self) -> str:
        ranges = f"low={self.low.mean():.4g}, high={self.high.mean():.4g}"
        return f"bits={self.bits}, {ranges}" + (f", {len(self.low)} channels" if self.low.ndim else "")


def by_channel(values: torch.Tensor, x: torch.Tensor, channel_dim: int) -> torch.Tensor:
    """(C,) or () shaped so that it broadcasts against x."""
    if values.ndim == 0:
        return values
    return values.view([-1 if d == channel_dim % x.ndim else 1 for d in range(x.ndim)])


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
    """Static quantizer of activations to the nearest of sorted `points` (k,), the same for every channel."""

    dynamic = False

    def __init__(self, points: np.ndarray | torch.Tensor, bits: int):
        super().__init__()
        self.bits = bits
        self.register_buffer("points", torch.as_tensor(points, dtype=torch.float32))

    def settings(self) -> dict:
        """The arguments of the constructor that are not tensors."""
        return {"bits": self.bits}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        points = self.points.to(x.dtype)
        nearest = points[torch.bucketize(x.detach().contiguous(), (points[1:] + points[:-1]) / 2)]
        return Replace.apply(x, nearest)

    def levels(self, channel: int) -> np.ndarray:
        """Sorted levels of the channel."""
        return self.points.double().numpy(force=True)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, {len(self.points)} levels to {self.points[-1]:.4g}"


class GaussianQuantizer(nn.Module):
    """DAQ's quantizer of activations: per image and channel, uniform in standard deviations from the mean.

    Mean and deviation are recomputed for every input; `2**bits` levels (i + 1/2) * step, the step that is
    best for a Gaussian (Hong et al., arXiv 2012.11230, sec. 3.2).
    """

    dynamic = True

    def __init__(self, bits: int, channel_dim: int):
        super().__init__()
        self.bits, self.channel_dim = bits, channel_dim

    def settings(self) -> dict:
        """The arguments of the constructor that are not tensors."""
        return {"bits": self.bits, "channel_dim": self.channel_dim}

    def normalization(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation per image and channel; both broadcast against x."""
        dims = within_channel(x, self.channel_dim) or [self.channel_dim % x.ndim]
        deviation, mean = torch.std_mean(x, dims, correction=0, keepdim=True)
        return mean, deviation + EPS

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, deviation = self.normalization(x.detach())
        step, half = gaussian_step(self.bits), 2 ** (self.bits - 1)
        level = torch.floor((x.detach() - mean) / (deviation * step)).clamp_(-half, half - 1)
        return Replace.apply(x, ((level + 0.5) * (step * deviation) + mean).to(x.dtype))

    def levels(self, channel: int) -> np.ndarray:
        """Sorted levels of the channel, in standard deviations from the mean."""
        half = 2 ** (self.bits - 1)
        return (np.arange(-half, half) + 0.5) * gaussian_step(self.bits)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class SubsetQuantizer(nn.Module):
    """DFSQ's quantizer of activations: normalize per image and channel, map to the nearest chosen point.

    points: (C, 2**bits) of a universal set, one row per channel; a single row serves every channel. The
    normalization is recomputed for every input, so a crop is quantized otherwise than the whole image.
    block: side in pixels of the regions that are normalized apart, each by its own range, whatever
    `post_relu`; 0 for the whole image.
    """

    dynamic = True

    def __init__(
        self,
        points: np.ndarray | torch.Tensor,
        step: float,
        post_relu: bool,
        bits: int,
        channel_dim: int,
        block: int = 0,
    ):
        super().__init__()
        self.bits, self.post_relu, self.channel_dim, self.block = bits, post_relu, channel_dim, block
        self.steps_per_unit = round(1 / step)
        points = torch.from_numpy(np.sort(np.asarray(points, dtype=np.float64), axis=1))
        self.register_buffer("points", points)
        self.register_buffer("codes", nearest_codes(points, self.steps_per_unit), persistent=False)
        self.register_load_state_dict_post_hook(_follow_points)

    def settings(self) -> dict:
        """The arguments of the constructor that are not tensors."""
        names = ("post_relu", "bits", "channel_dim", "block")
        return {"step": 1 / self.steps_per_unit} | {name: getattr(self, name) for name in names}

    def normalization(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and max per image and channel, or middle and half range per block; broadcast against x."""
        return normalization(x, self.channel_dim, self.post_relu, self.block)

    def levels(self, channel: int) -> np.ndarray:
        """Sorted points of the channel, normalized."""
        return self.points[channel % len(self.points)].numpy(force=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if has_blocks(x, self.channel_dim, self.block) and x.dtype in (torch.float32, torch.float64):
            return nearest_points_in_blocks(x, block_size(x, self.block), self.codes, self.points.to(x.dtype))
        mean, scale = self.normalization(x.detach())
        levels = self.points.to(mean.dtype)
        return nearest_points(x, mean, scale, self.codes, levels, self.channel_dim).to(x.dtype)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, channels={len(self.points)}, post_relu={self.post_relu}"


def _follow_points(quantizer: SubsetQuantizer, keys: object) -> None:
    """After other points were loaded, look them up."""
    quantizer.codes = nearest_codes(quantizer.points, quantizer.steps_per_unit)


def nearest_codes(points: torch.Tensor, steps_per_unit: int) -> torch.Tensor:
    """Index of the nearest of sorted `points` (C, k <= 256) for every half-grid cell -> (C, 4/step) uint8.

    Cells are (low, high], so that a midpoint goes to the lower point.
    """
    middles = (points[:, 1:] + points[:, :-1]) / 2
    # Midpoints lie on cell edges: rounding to whole cells removes float64's error.
    edges = torch.round((middles + 1) * 2 * steps_per_unit)
    cells = torch.arange(1, 4 * steps_per_unit + 1, dtype=torch.float64, device=points.device)
    return torch.searchsorted(edges, cells.expand(len(points), -1).contiguous()).to(torch.uint8)


QUANTIZERS = {
    q.__name__: q
    for q in (UniformQuantizer, OffsetQuantizer, LevelQuantizer, SubsetQuantizer, GaussianQuantizer)
}
