"""Map activations to levels, in one fused pass on the CPU and by tensor operations elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from core.quantizers import _lookup_kernels as kernels
from core.quantizers.normalization import block_normalization, spread
from core.utils.parallel import over_rows


class Replace(torch.autograd.Function):
    """`value` in the place of x; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, x, value):
        return value

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def nearest_points(
    x: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    codes: torch.Tensor,
    levels: torch.Tensor,
    channel_dim: int,
) -> torch.Tensor:
    """Return Q((x - mean) / scale) * scale + mean, the gradient passing straight through.

    mean, scale: of x's rank, broadcast over all dims but the first and the channels. levels (C or 1, k):
    the points. codes (C or 1, cells) uint8: which of them is nearest to each half-grid cell (low, high] of
    [-1, 1]. ValueError if x has another number of channels.
    """
    _check_channels(x, codes, channel_dim)
    if not is_compiled(x) or _varies_within(mean, channel_dim):
        return Replace.apply(x, reference(x.detach(), mean, scale, codes, levels, channel_dim))
    means, scales, rows_per_image = _by_image(x, channel_dim, mean, scale)
    tables = means, scales, codes.numpy(), levels.numpy(), rows_per_image
    return Replace.apply(x, _by_rows(kernels.look_up, x, channel_dim, *tables))


def nearest_levels(
    x: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, levels: torch.Tensor, channel_dim: int
) -> torch.Tensor:
    """Return the same for sorted levels (C or 1, k) that lie on no grid; of two as near the lower."""
    _check_channels(x, levels, channel_dim)
    if not is_compiled(x) or _varies_within(mean, channel_dim):
        return Replace.apply(x, levels_reference(x.detach(), mean, scale, levels, channel_dim))
    means, scales, rows_per_image = _by_image(x, channel_dim, mean, scale)
    tables = means, scales, levels.numpy(), rows_per_image
    return Replace.apply(x, _by_rows(kernels.search, x, channel_dim, *tables))


def uniform_levels(
    x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, bits: int, channel_dim: int
) -> torch.Tensor:
    """Return q(x; low, high) without gradient, for float32 on the CPU; the ends broadcast against x."""
    if low.numel() == high.numel() == 1:  # the shape does not matter
        rows = math.prod(x.shape[:-2])
        low, high = low.reshape(1).expand(rows), high.reshape(1).expand(rows)
        return _by_rows(kernels.uniform, x, -3, *_contiguous(low, high), 2**bits - 1, inner=2)
    dim = channel_dim % x.ndim
    shape = [*x.shape[: dim + 1], *[1] * (x.ndim - dim - 1)]
    ends = (end.expand(shape).reshape(-1) for end in (low, high))
    return _by_rows(kernels.uniform, x, channel_dim, *_contiguous(*ends), 2**bits - 1)


def nearest_points_in_blocks(
    x: torch.Tensor, size: tuple[int, int], codes: torch.Tensor, levels: torch.Tensor
) -> torch.Tensor:
    """Return `nearest_points` for images (..., C, H, W), each block of `size` pixels by its own range."""
    _check_channels(x, codes, -3)
    if not is_compiled(x):
        return Replace.apply(x, reference_in_blocks(x.detach(), size, codes, levels))
    tables = x.shape[-3], *size, codes.numpy(), levels.numpy()
    return Replace.apply(x, _by_images(kernels.look_up_in_blocks, x, *tables))


def uniform_in_blocks(
    x: torch.Tensor, size: tuple[int, int], low: torch.Tensor, high: torch.Tensor, bits: int
) -> torch.Tensor:
    """Return uniform levels from low to high (C,), normalized, for images by blocks; float32 on the CPU."""
    ends = (end.expand(x.shape[:-2]).reshape(-1) for end in (low, high))
    return _by_images(kernels.uniform_in_blocks, x, *size, *_contiguous(*ends), 2**bits - 1)


def is_compiled(x: torch.Tensor) -> bool:
    """Return whether the compiled loops take x."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # which see tensor operations alone
    return x.device.type == "cpu" and x.dtype == torch.float32 and not traced


def _varies_within(mean: torch.Tensor, channel_dim: int) -> bool:
    """Whether one channel of an image has more than one mean, as with blocks."""
    return any(n > 1 for d, n in enumerate(mean.shape) if d not in (0, channel_dim % mean.ndim))


def _check_channels(x: torch.Tensor, levels: torch.Tensor, channel_dim: int) -> None:
    n_channels = x.shape[channel_dim]
    if len(levels) not in (1, n_channels):
        raise ValueError(
            f"the points are for {len(levels)} channels, the input {tuple(x.shape)} has {n_channels}"
        )


def reference(x, mean, scale, codes, levels, channel_dim):
    """Do what `nearest_points` does by tensor operations, on any device and dtype."""
    half = codes.shape[1] // 2
    normalized = ((x - mean) / scale).double()
    edge = torch.ceil(normalized * half).clamp_(1 - half, half).nan_to_num_(1 - half)
    cell = edge.long() + (half - 1)
    channel = _channel(x, len(codes), channel_dim)
    return levels[channel, codes[channel, cell].long()] * scale + mean


def levels_reference(x, mean, scale, levels, channel_dim):
    """Do what `nearest_levels` does by tensor operations, on any device and dtype."""
    normalized = ((x - mean) / scale).to(levels.dtype)
    rows = normalized.movedim(channel_dim, 0).reshape(x.shape[channel_dim], -1)
    middles = ((levels[:, 1:] + levels[:, :-1]) / 2).expand(len(rows), -1)
    code = torch.searchsorted(middles.contiguous(), rows.contiguous()).clamp_(max=levels.shape[1] - 1)
    found = levels.expand(len(rows), -1).gather(1, code)
    shape = x.movedim(channel_dim, 0).shape
    value = found.view(shape).movedim(0, channel_dim) * scale + mean
    return torch.where(x.isnan(), x, value.to(x.dtype))


def reference_in_blocks(x, size, codes, levels):
    """Do what `nearest_points_in_blocks` does by tensor operations, on any device and dtype."""
    middle, scale = (spread(part, size, x) for part in block_normalization(x, size))
    return reference(x, middle, scale, codes, levels, -3)


def _channel(x: torch.Tensor, n_rows: int, channel_dim: int) -> torch.Tensor:
    """The row of a table for each channel, which broadcasts against x."""
    shape = [-1 if d == channel_dim % x.ndim else 1 for d in range(x.ndim)]
    return (torch.arange(x.shape[channel_dim], device=x.device) % n_rows).view(shape)


def _by_image(x, channel_dim, mean, scale):
    """Mean and scale as (images, C), and how many rows of channels an image has."""
    dim = channel_dim % x.ndim
    n_images, n_channels = (x.shape[0] if dim else 1), x.shape[dim]
    shape = [x.shape[d] if d in (0, dim) else 1 for d in range(x.ndim)]
    parts = (part.expand(shape).reshape(n_images, n_channels) for part in (mean, scale))
    return *_contiguous(*parts), max(1, math.prod(x.shape[:dim]) // max(1, n_images))


def _contiguous(*parts: torch.Tensor) -> list:
    return [part.contiguous().numpy() for part in parts]


def _by_rows(kernel: Callable, x: torch.Tensor, channel_dim: int, *tables, inner: int = 0) -> torch.Tensor:
    """`kernel` on every row of a channel of an image, or on rows of so many `inner` dims."""
    x = x.detach()
    dims = x.ndim - inner if inner else channel_dim % x.ndim + 1
    n_rows = math.prod(x.shape[: max(dims, 0)])
    return _apply(kernel, x, (n_rows, x.numel() // n_rows if n_rows else 0), tables)


def _by_images(kernel: Callable, x: torch.Tensor, *tables) -> torch.Tensor:
    x = x.detach()
    return _apply(kernel, x, (math.prod(x.shape[:-2]), *x.shape[-2:]), tables)


def _apply(kernel: Callable, x: torch.Tensor, shape: tuple[int, ...], tables) -> torch.Tensor:
    out = torch.empty(shape, dtype=x.dtype)
    if x.numel():
        over_rows(kernel, shape[0], x.contiguous().view(shape).numpy(), *tables, out.numpy())
    return out.view(x.shape)
