"""Normalization of activations: DFSQ's, per channel of an image, and by the range of each of its blocks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

EPS = 1e-8  # DFSQ's, in the denominator
SIDE_BITS = 16  # of a number that goes with the values


def within_channel(x: torch.Tensor, channel_dim: int) -> list[int]:
    """Return the dimensions over which the values that are normalized together extend.

    Those of one image and channel. Where that is a single value, as with pooled features (N, C, 1, 1) or
    (N, C), it has no spread, and the image's channels go together.
    """
    first = 1 if channel_dim % x.ndim else 0  # a layer called without a batch dimension has no images
    together = is_single(x, channel_dim)
    return [d for d in range(first, x.ndim) if together or d != channel_dim % x.ndim]


def is_single(x: torch.Tensor, channel_dim: int) -> bool:
    """Return whether every channel of an image has one value alone."""
    return all(n == 1 for d, n in enumerate(x.shape) if d not in (0, channel_dim % x.ndim))


@dataclasses.dataclass(frozen=True)
class Normalization:
    """How each input is brought to [-1, 1]: by the mean and maximum of a channel, or the ends of a block.

    block: side in pixels of the regions of an image that are normalized apart, by their middle and half their
    range; 0 for the whole image (arXiv 2305.05888, eq. 4 and 5). side_bits: of each such number; with fewer
    than 16 they are rounded to as many evenly spaced values (`rounded`).
    """

    channel_dim: int
    post_relu: bool
    block: int = 0
    side_bits: int = SIDE_BITS

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and scale, which broadcast against x: the normalized value is (x - mean) / scale.

        Post-ReLU: mean 0, scale max|x|. Otherwise max|x - mean|. EPS is added to the scale, so that a
        constant channel is normalized to 0, and one of zeros stays 0.
        """
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x  # where EPS would be 0
        if self.in_blocks(x):
            size = block_size(x, self.block)
            return tuple(spread(part, size, x) for part in block_normalization(x, size, self.side_bits))
        dims = within_channel(x, self.channel_dim)
        high, low = x.amax(dims, keepdim=True), x.amin(dims, keepdim=True)
        if self.post_relu:
            mean = torch.zeros_like(high)
        else:
            mean = rounded(x.mean(dims, keepdim=True), self.side_bits, self.channel_dim, torch.round)
        scale = torch.maximum(high - mean, mean - low)
        return mean, rounded(scale, self.side_bits, self.channel_dim, torch.ceil) + EPS

    def in_blocks(self, x: torch.Tensor) -> bool:
        """Return whether x is normalized in blocks: images are, (N, C, H, W) or (C, H, W), of some pixels."""
        image = self.block > 0 and self.channel_dim % x.ndim == x.ndim - 3
        return image and not is_single(x, self.channel_dim)

    def side_information(self, x: torch.Tensor) -> int:
        """Return the bits of the numbers that go with an input like x, which may be a meta tensor."""
        ends = 0 if self.side_bits == SIDE_BITS else 2 * SIDE_BITS  # between which they are rounded
        if self.in_blocks(x):
            height, width = block_size(x, self.block)
            blocks = -(-x.shape[-2] // height) * -(-x.shape[-1] // width)
            return 2 * math.prod(x.shape[:-2]) * (blocks * self.side_bits + ends)
        dims = within_channel(x, self.channel_dim)
        groups = math.prod(n for d, n in enumerate(x.shape) if d not in dims)
        apart = self.channel_dim % x.ndim not in dims
        images = groups // x.shape[self.channel_dim] if apart else groups
        return (1 if self.post_relu else 2) * (groups * self.side_bits + images * ends)


def rounded(values: torch.Tensor, bits: int, dims: int | tuple[int, ...], rounding: Callable) -> torch.Tensor:
    """Round to 2**bits even steps between the lowest and highest along `dims`; not for 16 bits."""
    if bits >= SIDE_BITS:
        return values
    low, high = values.amin(dims, keepdim=True), values.amax(dims, keepdim=True)
    step = (high - low) / (2**bits - 1)
    code = rounding((values - low) / torch.where(step > 0, step, torch.ones_like(step)))
    return code.clamp_(0, 2**bits - 1) * step + low


def block_size(x: torch.Tensor, block: int) -> tuple[int, int]:
    """Return height and width of equal blocks of about `block` pixels each way."""
    # In torch.jit.trace, sizes are tensors.
    return tuple(-(-n // max(1, round(n / block))) for n in map(int, x.shape[-2:]))


def block_normalization(
    x: torch.Tensor, size: tuple[int, int], side_bits: int = SIDE_BITS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return middle and half the range of every block of (..., H, W), both (..., rows, columns).

    So the values of each block fill [-1, 1]; within so few the mean is often far from the middle. What the
    last blocks lack is filled up by repeating the last row and column. side_bits < 16: the ends of a
    channel's blocks are rounded outwards, to so many bits over the range that they have in the channel.
    """
    (height, width), (h, w) = size, x.shape[-2:]
    down, right = -h % height, -w % width
    if down or right:
        x = F.pad(x, (0, right, 0, down), "replicate")
    high = rounded(_reduced(x, size, torch.amax), side_bits, (-2, -1), torch.ceil)
    low = rounded(_reduced(x, size, torch.amin), side_bits, (-2, -1), torch.floor)
    return low / 2 + high / 2, high / 2 - low / 2 + EPS


def _reduced(x: torch.Tensor, size: tuple[int, int], reduce: Callable) -> torch.Tensor:
    """`reduce` over every block: rows first, then columns turned to rows, which is fast on the CPU."""
    rows = reduce(x.unflatten(-2, (-1, size[0])), -2)
    return reduce(rows.mT.contiguous().unflatten(-2, (-1, size[1])), -2).mT


def spread(part: torch.Tensor, size: tuple[int, int], x: torch.Tensor) -> torch.Tensor:
    """Return one number a block, (..., rows, columns), at every pixel of x (..., H, W)."""
    (height, width), (rows, columns), (h, w) = size, part.shape[-2:], x.shape[-2:]
    pixels = part[..., None, :, None].expand(*part.shape[:-1], height, columns, width)
    return pixels.reshape(*part.shape[:-2], rows * height, columns * width)[..., :h, :w]
