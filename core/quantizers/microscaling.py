"""Microscaling formats: number formats of hardware in which blocks of values share a scale.

OCP Microscaling Formats (MX) 1.0: 32 values along the dimension that is summed, one power-of-two scale of 8
bits; elements of 4 bits are FP4 E2M1, of 6 FP6 E2M3, of 8 INT8. NVFP4 (NVIDIA Blackwell): 16 values of FP4
E2M1, an FP8 E4M3 scale, and one float a tensor.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import nn

from core.quantizers.lookup import is_compiled, straight_through
from core.utils.parallel import over_rows

PIXELS_AT_ONCE = 1024
SMALLEST = 2.0**-126  # smallest normal float32; a smaller scale may be flushed to 0
E4M3_LARGEST, E4M3_SMALLEST_NORMAL, E4M3_STEPS = 448.0, 2.0**-6, 8


class Element(NamedTuple):
    """A number format of elements: steps double at every power of two from 2 on, up to `largest`."""

    name: str
    finest: float  # the step between elements below 2
    largest: float
    top_exponent: int  # of the largest element: the shared scale is 2^(floor(log2 max) - top_exponent)


ELEMENTS = {
    4: Element("FP4 E2M1", 0.5, 6.0, 2),
    6: Element("FP6 E2M3", 0.125, 7.5, 2),
    8: Element("INT8", 1 / 64, 127 / 64, 0),
}


class Format(NamedTuple):
    """A format of blocks of `block` values that share a scale of `scale_bits`.

    two_level: the scale is FP8, times one float for the tensor. bits: of the elements.
    """

    name: str
    block: int
    scale_bits: int
    two_level: bool
    bits: tuple[int, ...]

    def element(self, bits: int) -> Element:
        """Return the element format of `bits` bits; ValueError if there is none."""
        if bits not in self.bits:
            there = ", ".join(map(str, self.bits))
            right = "one of these numbers" if len(self.bits) > 1 else f"{there} bits"
            raise ValueError(f"{self.name} has elements of {there} bits, not of {bits}; choose {right}")
        return ELEMENTS[bits]

    def side_bits(self, n_channels: int, n_others: int) -> int:
        """Return the bits of the scales of `n_others` places with `n_channels` channels each."""
        return math.ceil(n_channels / self.block) * n_others * self.scale_bits + 32 * self.two_level


FORMATS = {
    "mx": Format("MX", 32, 8, False, (4, 6, 8)),
    "nvfp4": Format("NVFP4", 16, 8, True, (4,)),
}


def microscaled(
    x: torch.Tensor, dim: int, form: Format, bits: int, largest: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Round x to elements times the scale of their block along `dim`; the last block may be shorter.

    largest: the largest magnitude of all tensors to be quantized alike, which sets the tensor's scale in a
    two-level format. ValueError for bits that the format does not have.
    """
    element = form.element(bits)
    tensor_scale = largest / (element.largest * E4M3_LARGEST)
    if is_compiled(x) and x.numel():
        dim = dim % x.ndim
        shape = math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :])
        out = torch.empty(shape, dtype=x.dtype)
        rows = shape[0] * math.ceil(shape[2] / PIXELS_AT_ONCE)
        values = x.detach().contiguous().view(shape).numpy()
        numbers = [np.float32(n) for n in (element.finest, element.largest, 2.0**-element.top_exponent)]
        tensor_scale = np.float32(tensor_scale if form.two_level else 0)
        over_rows(_microscale, rows, values, form.block, *numbers, tensor_scale, out.numpy())
        return out.view(x.shape)
    return _reference(x.detach(), dim, form, element, tensor_scale)


def _scales(x: torch.Tensor, dim: int, form: Format, bits: int, largest: torch.Tensor) -> torch.Tensor:
    element = form.element(bits)
    blocks, scale = _blocks(x, dim, form, element, largest / (element.largest * E4M3_LARGEST))
    scale = torch.where(scale > 0, scale, 1.0).expand_as(blocks)
    return scale.flatten(-2)[..., : x.shape[dim]].movedim(-1, dim)


def _blocks(x, dim: int, form: Format, element: Element, tensor_scale: torch.Tensor | float):
    """Return x in blocks along the last dimension, (..., blocks, values), and the scale of each block."""
    last = x.float().movedim(dim, -1)
    padding = -last.shape[-1] % form.block
    blocks = nn.functional.pad(last, (0, padding)).unflatten(-1, (-1, form.block))
    largest = blocks.abs().amax(-1, keepdim=True)
    if form.two_level:
        tensor_scale = torch.as_tensor(tensor_scale, dtype=torch.float32, device=x.device)
        scale = _e4m3(largest / element.largest / tensor_scale.clamp_min(SMALLEST))
        return blocks, scale * tensor_scale
    return blocks, _power_below(largest) * 2.0**-element.top_exponent


def _reference(
    x, dim: int, form: Format, element: Element, tensor_scale: torch.Tensor | float
) -> torch.Tensor:
    """Compute `microscaled` by tensor operations, on any device and dtype."""
    blocks, scale = _blocks(x, dim, form, element, tensor_scale)
    divisor = torch.where(scale > 0, scale, 1.0).clamp_min(SMALLEST)
    size = (blocks / divisor).abs().clamp(max=element.largest)
    step = element.finest * _power_below(size).clamp_min(1.0)
    rounded = torch.round(size / step) * step * blocks.sign() * scale
    return rounded.flatten(-2)[..., : x.shape[dim]].movedim(-1, dim).to(x.dtype)


def _power_below(x: torch.Tensor) -> torch.Tensor:
    """Return the largest power of two that is not above x; 0 where x is 0."""
    exponent = torch.frexp(x).exponent - 1
    return torch.where(x > 0, torch.ldexp(torch.ones_like(x), exponent), 0.0)


def _e4m3(x: torch.Tensor) -> torch.Tensor:
    """Round x, which is not negative, to FP8 E4M3, saturating."""
    x = x.clamp(max=E4M3_LARGEST)
    step = _power_below(x).clamp_min(E4M3_SMALLEST_NORMAL) / E4M3_STEPS
    return torch.round(x / step) * step


@njit(nogil=True, cache=True, error_model="numpy")
def _microscale(start, stop, x, block, finest, top, scale_of_top, tensor_scale, out):
    """Round x (outer, channels, places) to elements times scales; a row is PIXELS_AT_ONCE places."""
    runs = -(-x.shape[2] // PIXELS_AT_ONCE)
    sizes, scales = np.empty(PIXELS_AT_ONCE, np.float32), np.empty(PIXELS_AT_ONCE, np.float32)
    bits, floats = sizes.view(np.int32), np.empty(PIXELS_AT_ONCE, np.float32)
    powers = floats.view(np.int32)
    one, smallest = np.float32(1), np.float32(SMALLEST)
    for row in range(start, stop):
        outer, first = row // runs, row % runs * PIXELS_AT_ONCE
        n = min(PIXELS_AT_ONCE, x.shape[2] - first)
        for channel in range(0, x.shape[1], block):
            stop_channel = min(channel + block, x.shape[1])
            sizes[:n] = 0
            for c in range(channel, stop_channel):
                part = x[outer, c, first : first + n]
                for i in range(n):
                    size = abs(part[i])
                    sizes[i] = size if size > sizes[i] else sizes[i]
            for i in range(n):
                powers[i] = bits[i] & 0x7F800000  # keeps the exponent: the power of two below
            if tensor_scale > 0:
                for i in range(n):
                    size = sizes[i] / top / tensor_scale
                    sizes[i] = size if size < np.float32(E4M3_LARGEST) else np.float32(E4M3_LARGEST)
                for i in range(n):
                    powers[i] = bits[i] & 0x7F800000
                for i in range(n):
                    power = floats[i]
                    normal = np.float32(E4M3_SMALLEST_NORMAL)
                    step = (power if power > normal else normal) / np.float32(E4M3_STEPS)
                    scales[i] = np.rint(sizes[i] / step) * step * tensor_scale
            else:
                for i in range(n):
                    scales[i] = floats[i] * scale_of_top
            for c in range(channel, stop_channel):
                part, result = x[outer, c, first : first + n], out[outer, c, first : first + n]
                for i in range(n):
                    divisor = scales[i] if scales[i] > smallest else (smallest if scales[i] > 0 else one)
                    size = abs(part[i]) / divisor
                    sizes[i] = top if size > top else size
                for i in range(n):
                    powers[i] = bits[i] & 0x7F800000
                for i in range(n):
                    step = finest * (floats[i] if floats[i] > one else one)
                    size = np.rint(sizes[i] / step) * step * scales[i]
                    result[i] = size if part[i] >= 0 else -size


def microscaled_weight(weight: torch.Tensor, module: nn.Module, form: Format, bits: int) -> torch.Tensor:
    """Return the layer's `weight` rounded with blocks along its input channels."""
    return microscaled(weight, _summed_dim(module), form, bits, weight.abs().max())


def weight_side_bits(module: nn.Module, form: Format) -> int:
    """Return the bits of the scales of the layer's weight."""
    n = module.weight.shape[_summed_dim(module)]
    return form.side_bits(n, module.weight.numel() // n)


def _summed_dim(module: nn.Module) -> int:
    return 0 if isinstance(module, nn.ConvTranspose2d) else 1


class MicroscalingQuantizer(nn.Module):
    """A quantizer of activations by blocks of channels at every pixel; the scales follow each input.

    form: of FORMATS. largest: the largest magnitude seen in calibration, which sets the scale of a two-level
    format. A block's scale depends on its own values alone, so a crop is quantized as in the whole image.
    """

    dynamic = False

    def __init__(self, form: str, bits: int, channel_dim: int, largest: float | torch.Tensor = 0.0):
        super().__init__()
        self.form, self.bits, self.channel_dim = form, bits, channel_dim
        FORMATS[form].element(bits)  # raises ValueError if there is none
        self.register_buffer("largest", torch.as_tensor(largest, dtype=torch.float32))

    def settings(self) -> dict:
        """Return the arguments of the constructor that are not tensors."""
        return {name: getattr(self, name) for name in ("form", "bits", "channel_dim")}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the format's values, of its shape; the gradient passes straight through."""
        form = FORMATS[self.form]
        return straight_through(x, microscaled(x, self.channel_dim, form, self.bits, self.largest))

    def scales(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scale of each value's block, of x's shape; 1 in a block of zeros."""
        return _scales(x, self.channel_dim, FORMATS[self.form], self.bits, self.largest)

    def levels(self, channel: int) -> np.ndarray:
        """Return the sorted elements, in units of a block's scale."""
        element = FORMATS[self.form].element(self.bits)
        found, size = [0.0], 0.0
        while size < element.largest:
            size += element.finest * max(1.0, 2.0 ** math.floor(math.log2(size)) if size >= 1 else 1.0)
            found.append(size)
        return np.array([-s for s in found[:0:-1]] + found)

    def constants(self) -> int:
        """Return the bits of stored constants."""
        return 32 * FORMATS[self.form].two_level

    def side_information(self, x: torch.Tensor) -> int:
        """Return the bits of the scales of an input like x."""
        n = x.shape[self.channel_dim]
        return FORMATS[self.form].side_bits(n, x.numel() // n)

    def extra_repr(self) -> str:
        """Return the settings that `print` shows."""
        form = FORMATS[self.form]
        return f"{form.name}, {form.element(self.bits).name}, blocks of {form.block}"
