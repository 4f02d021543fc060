"""Fake quantization whose ranges are learned: what a network is trained with, and what becomes of it.

Every module here turns into a static quantizer of `core.quantizers` when training is over.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import nn

from core.quantizers.static import OffsetQuantizer, UniformQuantizer, by_channel

NARROWEST = 1e-6  # a range never closes: its gradient divides by its width
SMALLEST_SCALE = 1e-2  # of an offset: a channel is never lost or mirrored


class FakeQuantize(torch.autograd.Function):
    """q(x; l, u) of `core.quantizers.static.uniform` in one step, for a scalar range.

    Rounding passes the gradient straight through: to x within [l, u]; to l and u the whole of it where x is
    clipped there, and (x - q) / (u - l) and its negative within, as LSQ's (arXiv 1902.08153).
    """

    @staticmethod
    def forward(ctx, x, low, high, bits: int):
        ctx.width = (high - low).clamp_min(NARROWEST)
        quantized = _fused(_levels_of, x)(x, low, ctx.width, 2**bits - 1)
        ctx.save_for_backward(x, quantized, low, high)
        return quantized

    @staticmethod
    def backward(ctx, grad):
        x, quantized, low, high = ctx.saved_tensors
        inside, to_low, to_high = _fused(_gradients, x)(grad, x, quantized, low, high, ctx.width)
        return inside, to_low.view_as(low), to_high.view_as(high), None


def _levels_of(x, low, width, steps: int) -> torch.Tensor:
    step = width / steps
    return ((x - low) / step).round_().clamp_(0, steps).mul_(step).add_(low)


def _gradients(grad, x, quantized, low, high, width) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of x, low and high."""
    below = x < low
    inside = grad.masked_fill(below | (x > high), 0)
    from_rounding = (inside * (x - quantized)).sum() / width
    clipped = grad - inside
    clipped_below = (clipped * below).sum()
    return inside, clipped_below + from_rounding, clipped.sum() - clipped_below - from_rounding


def _fused(function: Callable, x: torch.Tensor) -> Callable:
    """Return the function, on a GPU compiled to as few passes over the data as it takes."""
    return _compiled(function) if x.is_cuda else function


@functools.cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=False)


class LearnedRange(nn.Module):
    """Activations of one layer: q(x; l, u) with one learned range.

    shift, scale: v1's distribution
    offsets, which make x * scale + shift of the input first, one learned number a channel each; None where
    the layer has none. While `penalty` is set, every call appends penalty(x, q) to `penalties`.
    """

    dynamic = False

    def __init__(
        self,
        low: float,
        high: float,
        bits: int,
        channel_dim: int,
        shift: torch.Tensor | None = None,
        scale: torch.Tensor | None = None,
    ):
        super().__init__()
        self.bits, self.channel_dim = bits, channel_dim
        self.post_relu = low >= 0
        self.low = nn.Parameter(torch.tensor(float(low)))
        self.high = nn.Parameter(torch.tensor(float(high)))
        self.shift = None if shift is None else nn.Parameter(shift)
        self.scale = None if scale is None else nn.Parameter(scale)
        self.penalty: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
        self.penalties: list[torch.Tensor] = []

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """l and u."""
        return self.low, self.high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.scale is not None:
            x = x * by_channel(self.scale.clamp_min(SMALLEST_SCALE), x, self.channel_dim)
        if self.shift is not None:
            x = x + by_channel(self.shift, x, self.channel_dim)
        quantized = FakeQuantize.apply(x, *self.ends(), self.bits)
        if self.penalty is not None:
            self.penalties.append(self.penalty(x, quantized))
        return quantized

    @torch.no_grad()
    def frozen(self) -> nn.Module:
        """The static quantizer with the same output; offsets fold into where each channel's codes begin."""
        low, high = self.ends()
        high = torch.maximum(high, low + NARROWEST)
        if self.shift is None and self.scale is None:
            return UniformQuantizer(low.clone(), high.clone(), self.bits, self.channel_dim)
        shift = 0.0 if self.shift is None else self.shift
        scale = 1.0 if self.scale is None else self.scale.clamp_min(SMALLEST_SCALE)
        ends = ((end - shift) / scale for end in (low, high))
        return OffsetQuantizer(*ends, low.clone(), high.clone(), self.bits, self.channel_dim)


class ClippedWeight(nn.Module):
    """Weights of one layer: q(w; -u, u) with u = f(W), the same for all output channels.

    correction: u = gamma * f(W) with f the percentile of |W| and a learned gamma from 1 (arXiv 2307.13337v2);
    without it u is the largest |W|. f follows the weights and passes no gradient on. A parametrization of
    `torch.nn.utils.parametrize`.
    """

    def __init__(self, bits: int, correction: bool, percentile: float):
        super().__init__()
        self.bits, self.percentile = bits, percentile
        self.gamma = nn.Parameter(torch.ones(())) if correction else None

    def high(self, weight: torch.Tensor) -> torch.Tensor:
        """u."""
        sizes = weight.detach().abs().flatten()
        if self.gamma is None:
            return sizes.max()
        return self.gamma * torch.quantile(sizes, self.percentile / 100)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        high = self.high(weight)
        return FakeQuantize.apply(weight, -high, high, self.bits)
