"""Fake quantization with learned ranges, for training.

Every module here is replaced by a static quantizer of `core.quantizers` when training is over.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from core.qat._fake_kernels import gradients
from core.quantizers._lookup_kernels import uniform
from core.quantizers.lookup import is_compiled
from core.quantizers.uniform import OffsetQuantizer, UniformQuantizer, by_channel
from core.utils.parallel import over_rows

NARROWEST = 1e-6  # smallest width of a range, by which its gradient is divided
SMALLEST_SCALE = 1e-2  # smallest scale of an offset, so that no channel vanishes or changes its sign


class FakeQuantize(torch.autograd.Function):
    """The function q(x; l, u) of `core.quantizers.uniform.uniform`, and its gradients.

    l and u are numbers, or broadcast against x. Rounding passes the gradient straight through: to x within
    [l, u]; to l and u all of it where x is clipped there, and within the range (x - q) / (u - l) and its
    negative, as in LSQ (arXiv 1902.08153).
    """

    @staticmethod
    def forward(ctx, x, low, high, bits: int):
        """Return the quantized x."""
        ctx.width, steps = (high - low).clamp_min(NARROWEST), 2**bits - 1
        ctx.one_pass = low.numel() == high.numel() == 1 and is_compiled(x)
        if ctx.one_pass:
            quantized = _levels_in_one_pass(x, low, torch.maximum(high, low + NARROWEST), steps)
        else:
            quantized = _fused(_levels_of, x)(x, low, ctx.width, steps)
        ctx.save_for_backward(x, quantized, low, high)
        return quantized

    @staticmethod
    def backward(ctx, grad):
        """Return the gradients to x, low and high."""
        x, quantized, low, high = ctx.saved_tensors
        gradients_of = _gradients_in_one_pass if ctx.one_pass else _fused(_gradients, x)
        inside, to_low, to_high = gradients_of(grad, x, quantized, low, high, ctx.width)
        return inside, to_low.view_as(low), to_high.view_as(high), None


def _levels_of(x, low, width, steps: int) -> torch.Tensor:
    step = width / steps
    return ((x - low) / step).round_().clamp_(0, steps).mul_(step).add_(low)


def _gradients(grad, x, quantized, low, high, width) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients to x, low and high."""
    below = x < low
    inside = grad.masked_fill(below | (x > high), 0)
    from_rounding = _summed(inside * (x - quantized), low) / width
    clipped = grad - inside
    clipped_below = _summed(clipped * below, low)
    return inside, clipped_below + from_rounding, _summed(clipped, low) - clipped_below - from_rounding


def _levels_in_one_pass(x, low, high, steps: int) -> torch.Tensor:
    """Return `_levels_of` for one range, on the CPU, by the loop of the static quantizer it will become."""
    x = _dense(x)
    quantized = torch.empty_like(x)
    ends = (np.full(len(x), end) for end in _numbers(low, high))
    over_rows(uniform, len(x), _rows(x), *ends, steps, _rows(quantized))
    return quantized


def _gradients_in_one_pass(grad, x, quantized, low, high, width):
    """Return `_gradients` for one range, on the CPU."""
    x, grad = _dense(x), torch.empty_like(quantized).copy_(grad)
    inside, sums = torch.empty_like(quantized), np.empty((len(x), 3))
    parts = (_rows(part) for part in (grad, x, quantized))
    over_rows(gradients, len(x), *parts, *_numbers(low, high), _rows(inside), sums)
    below, above, rounding = torch.from_numpy(sums.sum(0)).to(x.dtype)
    return inside, below + rounding / width, above - rounding / width


def _dense(x: torch.Tensor) -> torch.Tensor:
    """Return x without gaps in memory."""
    return x if x.is_contiguous() or _is_channels_last(x) else x.contiguous()


def _is_channels_last(x: torch.Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _rows(x: torch.Tensor) -> np.ndarray:
    """Return x's values as (len(x), n) in the order of memory."""
    return (x.movedim(1, -1) if _is_channels_last(x) else x).reshape(len(x), -1).detach().numpy()


def _numbers(*tensors: torch.Tensor) -> list[np.float32]:
    return [np.float32(tensor.item()) for tensor in tensors]


def _summed(values: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Sum over the values that share one of `ends`."""
    return values.sum() if ends.ndim == 0 else values.sum_to_size(ends.shape)


def _fused(function: Callable, x: torch.Tensor) -> Callable:
    """Return the function; on a GPU compiled, so that it passes over the data as few times as possible."""
    return _compiled(function) if x.is_cuda else function


@functools.cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=False)


def _upper_quantile(values: torch.Tensor, share: float) -> torch.Tensor:
    """Return `torch.quantile` of (n,) for a share near 1, without sorting what lies below it."""
    place = share * (len(values) - 1)
    first = int(place)
    top = values.topk(len(values) - first).values
    return top[-1] if len(top) == 1 else torch.lerp(top[-1], top[-2], place - first)


class LearnedRange(nn.Module):
    """A quantizer of one layer's activations, q(x; l, u) with one learned range.

    shift, scale: v1's distribution offsets, one learned number a channel each; they first change the input to
    x * scale + shift. None if the layer has none. While `penalty` is set, every call appends penalty(x, q) to
    `penalties`.
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
        """Return l and u."""
        return self.low, self.high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, with its offsets, on the levels; of x's shape."""
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
        """Return the static quantizer with the same output; offsets become input ranges of channels."""
        low, high = self.ends()
        high = torch.maximum(high, low + NARROWEST)
        if self.shift is None and self.scale is None:
            return UniformQuantizer(low.clone(), high.clone(), self.bits, self.channel_dim)
        shift = 0.0 if self.shift is None else self.shift
        scale = 1.0 if self.scale is None else self.scale.clamp_min(SMALLEST_SCALE)
        ends = ((end - shift) / scale for end in (low, high))
        return OffsetQuantizer(*ends, low.clone(), high.clone(), self.bits, self.channel_dim)


class ClippedWeight(nn.Module):
    """A quantizer of one layer's weights, q(w; -u, u) with u = f(W), the same for all output channels.

    correction: u = gamma * f(W), where f is the percentile of |W| and gamma is learned, starting at 1 (arXiv
    2307.13337v2); without it u is the largest |W|. f follows the weights and gets no gradient. A
    parametrization of `torch.nn.utils.parametrize`.
    """

    def __init__(self, bits: int, correction: bool, percentile: float):
        super().__init__()
        self.bits, self.percentile = bits, percentile
        self.gamma = nn.Parameter(torch.ones(())) if correction else None

    def high(self, weight: torch.Tensor) -> torch.Tensor:
        """Return u."""
        sizes = weight.detach().abs().flatten()
        if self.gamma is None:
            return sizes.max()
        return self.gamma * _upper_quantile(sizes, self.percentile / 100)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its levels."""
        high = self.high(weight)
        return FakeQuantize.apply(weight, -high, high, self.bits)
