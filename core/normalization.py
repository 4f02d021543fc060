"""Normalization of activations: DFSQ's, per channel of an image, and by the range of each of its blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from core.moments import Moments

EPS = 1e-8  # DFSQ's, in the denominator


def within_channel(x: torch.Tensor, channel_dim: int) -> list[int]:
    """The dimensions over which the values of one image and channel extend."""
    return [d for d in range(1, x.ndim) if d != channel_dim % x.ndim]


def normalization(
    x: torch.Tensor, channel_dim: int, post_relu: bool, block: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and max per image (dim 0) and channel: the normalized value is (x - mean) / max.

    Post-ReLU: mean 0, max|x|. Otherwise max|x - mean| (arXiv 2305.05888, eq. 4 and 5). Both broadcast
    against x; EPS is added to the max. block: side in pixels of the regions of an image that are normalized
    apart, by their middle and half their range (`block_normalization`); 0 for the whole image.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x  # where EPS would be 0
    if has_blocks(x, channel_dim, block):
        size = block_size(x, block)
        return tuple(spread(part, size, x) for part in block_normalization(x, size))
    dims = within_channel(x, channel_dim)
    if not dims:  # (N, C): a single value has no spread, so the image's channels share theirs
        mean, scale = normalization(x[..., None], 0, post_relu)
        return mean[..., 0].expand_as(x), scale[..., 0].expand_as(x)
    high, low = x.amax(dims, keepdim=True), x.amin(dims, keepdim=True)
    if post_relu:
        return torch.zeros_like(high), torch.maximum(high, -low) + EPS
    mean = x.mean(dims, keepdim=True)
    return mean, torch.maximum(high - mean, mean - low) + EPS


def has_blocks(x: torch.Tensor, channel_dim: int, block: int) -> bool:
    """Only images, (N, C, H, W) or (C, H, W), are normalized in blocks."""
    return block > 0 and channel_dim % x.ndim == x.ndim - 3


def block_size(x: torch.Tensor, block: int) -> tuple[int, int]:
    """Height and width of equal blocks of about `block` pixels each way."""
    return tuple(-(-n // max(1, round(n / block))) for n in x.shape[-2:])


def block_normalization(x: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Middle and half the range of every block of (..., H, W), both (..., rows, columns).

    So the values of each block fill [-1, 1]; within so few the mean is often far from the middle. What the
    last blocks lack is filled up by repeating the last row and column.
    """
    (height, width), (h, w) = size, x.shape[-2:]
    down, right = -h % height, -w % width
    if down or right:
        x = F.pad(x, (0, right, 0, down), "replicate")
    high, low = _reduced(x, size, torch.amax), _reduced(x, size, torch.amin)
    return low / 2 + high / 2, high / 2 - low / 2 + EPS


def _reduced(x: torch.Tensor, size: tuple[int, int], reduce: Callable) -> torch.Tensor:
    """`reduce` over every block: rows first, then columns turned to rows, which is fast on the CPU."""
    rows = reduce(x.unflatten(-2, (-1, size[0])), -2)
    return reduce(rows.mT.contiguous().unflatten(-2, (-1, size[1])), -2).mT


def spread(part: torch.Tensor, size: tuple[int, int], x: torch.Tensor) -> torch.Tensor:
    """One number a block, (..., rows, columns), at every pixel of x (..., H, W)."""
    (height, width), (rows, columns), (h, w) = size, part.shape[-2:], x.shape[-2:]
    pixels = part[..., None, :, None].expand(*part.shape[:-1], height, columns, width)
    return pixels.reshape(*part.shape[:-2], rows * height, columns * width)[..., :h, :w]


def moments_of(x: torch.Tensor, moments: Moments, channel_dim: int, post_relu: bool, block: int = 0) -> None:
    """Add the normalized activations of a batch to `moments`."""
    mean, scale = normalization(x, channel_dim, post_relu, block)
    # Rounding may push the extreme value a last digit beyond 1.
    moments.update(((x - mean) / scale).clamp_(-1, 1), channel_dim)
