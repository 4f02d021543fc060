"""DAQ's quantizer of activations (Hong et al., arXiv 2012.11230), as in the authors' code."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from core.quantizers import _lookup_kernels as kernels
from core.quantizers.levels import daq_step
from core.quantizers.lookup import Replace, is_compiled
from core.quantizers.normalization import SIDE_BITS, is_single, within_channel
from core.utils.parallel import over_rows


class GaussianQuantizer(nn.Module):
    """Per image and channel, uniform in standard deviations, which are found anew for every input.

    Signed: `2**bits` levels (i + 1/2) step around the mean. Post-ReLU, which is where the lowest value of the
    whole input is 0: levels i step from 0 up without end, the deviation that of the positive values; so more
    than `2**bits` levels can occur. deviation_bits: 8 or 4 to quantize the deviations of an image's channels
    in turn, 16 to leave them. A constant channel stays as it is.
    """

    dynamic = True

    def __init__(self, bits: int, channel_dim: int, deviation_bits: int = SIDE_BITS):
        super().__init__()
        self.bits, self.channel_dim, self.deviation_bits = bits, channel_dim, deviation_bits

    def settings(self) -> dict:
        """Return the arguments of the constructor that are not tensors."""
        return {name: getattr(self, name) for name in ("bits", "channel_dim", "deviation_bits")}

    def normalization(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what level 0 stands for and the deviation, per image and channel."""
        mean, deviation = self._statistics(x)
        return torch.where(is_post_relu(x), 0.0, mean), deviation.clamp_min(1e-30)

    def _statistics(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation, which broadcast against x."""
        dims = within_channel(x, self.channel_dim)
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = 1 + (x > 0).sum(dims, keepdim=True)
        of_positive = x.sum(dims, keepdim=True) / count
        squares = x.square().sum(dims, keepdim=True) / count - of_positive.square()
        correction = int(math.prod(x.shape[d] for d in dims) > 1)
        deviation, mean = torch.std_mean(x, dims, correction=correction, keepdim=True)
        post_relu = is_post_relu(x)
        mean = torch.where(post_relu, of_positive, mean)
        deviation = torch.where(post_relu, squares.clamp_min(0).sqrt(), deviation)
        return mean, rounded_deviations(deviation, self.deviation_bits, self.channel_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Replace.apply(x, self._quantized(x.detach()).to(x.dtype))

    def _quantized(self, x: torch.Tensor) -> torch.Tensor:
        if not x.numel():
            return x
        if is_compiled(x) and not is_single(x, self.channel_dim):
            return self._compiled(x)
        mean, deviation = self._statistics(x)
        step, last = daq_step(self.bits) * deviation, 2 ** (self.bits - 1) - 0.5
        divisor = torch.where(step > 0, step, torch.ones_like(step))
        signed = (torch.round((x - mean) / divisor + 0.5) - 0.5).clamp(-last, last) * step + mean
        positive = (torch.round(x / divisor - last + 0.5) - 0.5 + last) * step
        return torch.where(is_post_relu(x), positive, signed)

    def _compiled(self, x: torch.Tensor) -> torch.Tensor:
        dim, post_relu = self.channel_dim % x.ndim, bool(is_post_relu(x))
        first = x.movedim(dim, 1) if dim else x[None]  # (N, C, ...)
        rows = first.reshape(math.prod(first.shape[:2]), -1).contiguous()
        mean, deviation = rows.new_empty(len(rows)), rows.new_empty(len(rows))
        over_rows(kernels.daq_statistics, len(rows), rows.numpy(), post_relu, mean.numpy(), deviation.numpy())
        by_image = deviation.view(first.shape[:2])
        step = (daq_step(self.bits) * rounded_deviations(by_image, self.deviation_bits, 1)).flatten().numpy()
        out, half = torch.empty_like(rows), 2 ** (self.bits - 1)
        over_rows(kernels.daq, len(rows), rows.numpy(), post_relu, mean.numpy(), step, half, out.numpy())
        out = out.view(first.shape)
        return out.movedim(1, dim) if dim else out[0]

    def levels(self, channel: int) -> np.ndarray:
        """Return the sorted levels of the channel of a signed input, in standard deviations from the mean."""
        half = 2 ** (self.bits - 1)
        return (np.arange(-half, half) + 0.5) * daq_step(self.bits)

    def constants(self) -> int:
        """Return the bits that are stored once: none."""
        return 0

    def side_information(self, x: torch.Tensor) -> int:
        """Return the bits that an input like x needs beside its codes: a mean and a deviation a channel."""
        dims = within_channel(x, self.channel_dim)
        groups = math.prod(n for d, n in enumerate(x.shape) if d not in dims)
        ends = 0 if self.deviation_bits == SIDE_BITS else 2 * SIDE_BITS * x.shape[0]
        return groups * (SIDE_BITS + self.deviation_bits) + ends

    def extra_repr(self) -> str:
        return f"bits={self.bits}, deviation_bits={self.deviation_bits}"


def is_post_relu(x: torch.Tensor) -> torch.Tensor:
    """Return whether DAQ takes the input for that of a ReLU: its lowest value is exactly 0."""
    return x.min() == 0


def rounded_deviations(deviation: torch.Tensor, bits: int, dim: int) -> torch.Tensor:
    """Return the deviations of an image's channels, along `dim`, on DAQ's own levels around their mean.

    Not for 16 bits, nor for one channel alone. What would fall below 0 becomes 0 (in the authors' code it
    does not, and such a channel comes out as a constant).
    """
    if bits == SIDE_BITS or deviation.shape[dim] == 1:
        return deviation
    spread, mean = torch.std_mean(deviation, dim, keepdim=True)
    step, last = daq_step(bits) * spread, 2 ** (bits - 1) - 0.5
    divisor = torch.where(step > 0, step, torch.ones_like(step))
    code = (torch.round((deviation - mean) / divisor + 0.5) - 0.5).clamp(-last, last)
    return torch.where(step > 0, code * step + mean, deviation).clamp_min(0)
