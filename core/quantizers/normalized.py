"""Quantizers that normalize each input by its own statistics, as DFSQ; levels are those of normalized values.

Therefore a crop is quantized differently from the whole image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from core.quantizers.lookup import (
    is_compiled,
    nearest_levels,
    nearest_points,
    nearest_points_in_blocks,
    straight_through,
    uniform_in_blocks,
    uniform_levels,
)
from core.quantizers.normalization import SIDE_BITS, Normalization, block_size
from core.quantizers.uniform import by_channel, uniform


class NormalizedQuantizer(nn.Module):
    """The base class: bits, and a normalization whose mean and scale are computed for every input."""

    dynamic = True

    def __init__(self, bits: int, normalize: Normalization):
        super().__init__()
        self.bits, self.normalize = bits, normalize

    def settings(self) -> dict:
        """Return the arguments of the constructor that are not tensors."""
        names = ("post_relu", "channel_dim", "block", "side_bits")
        return {"bits": self.bits} | {name: getattr(self.normalize, name) for name in names}

    def normalization(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and scale, which broadcast against x."""
        return self.normalize(x)

    def side_information(self, x: torch.Tensor) -> int:
        """Return the bits that an input like x needs besides its codes, including constants."""
        return self.normalize.side_information(x) + self.constants()

    def _fused_blocks(self, x: torch.Tensor) -> bool:
        plain = self.normalize.side_bits == SIDE_BITS
        return plain and self.normalize.in_blocks(x) and x.dtype in (torch.float32, torch.float64)

    def constants(self) -> int:
        """Return the bits of stored constants."""
        return sum(SIDE_BITS * buffer.numel() for buffer in self.buffers())


class SubsetQuantizer(NormalizedQuantizer):
    """DFSQ's quantizer of activations: normalize per image and channel, map to the nearest chosen point.

    points: (C, k <= 2**bits) of a grid, one row per channel; a single row serves every channel. step: of the
    grid; None for levels off any grid. set_size: number of points to choose from, so that a point is stored
    as an index. block, side_bits: as for `Normalization`.
    """

    def __init__(
        self,
        points: np.ndarray | torch.Tensor,
        step: float | None,
        post_relu: bool,
        bits: int,
        channel_dim: int,
        block: int = 0,
        side_bits: int = SIDE_BITS,
        set_size: int | None = None,
    ):
        super().__init__(bits, Normalization(channel_dim, post_relu, block, side_bits))
        self.step, self.set_size = step, set_size
        points = torch.from_numpy(np.sort(np.asarray(points, dtype=np.float64), axis=1))
        self.register_buffer("points", points)
        codes = None if step is None else nearest_codes(points, round(1 / step))
        self.register_buffer("codes", codes, persistent=False)
        self.register_load_state_dict_post_hook(_follow_points)

    def settings(self) -> dict:
        """Return the arguments of the constructor that are not tensors."""
        return super().settings() | {"step": self.step, "set_size": self.set_size}

    def levels(self, channel: int) -> np.ndarray:
        """Return the sorted points of the channel, normalized."""
        return self.points[channel % len(self.points)].numpy(force=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the points, of its shape and dtype; the gradient passes straight through."""
        normalize = self.normalize
        if self.codes is not None and self._fused_blocks(x):
            size = block_size(x, normalize.block)
            return nearest_points_in_blocks(x, size, self.codes, self.points.to(x.dtype))
        mean, scale = normalize(x.detach())
        levels = self.points.to(mean.dtype)
        if self.codes is None:
            return nearest_levels(x, mean, scale, levels, normalize.channel_dim).to(x.dtype)
        return nearest_points(x, mean, scale, self.codes, levels, normalize.channel_dim).to(x.dtype)

    def constants(self) -> int:
        """Return the bits of stored constants."""
        each = (self.set_size - 1).bit_length() if self.set_size else SIDE_BITS
        return each * self.points.numel()

    def extra_repr(self) -> str:
        """Return the settings that `print` shows."""
        return f"bits={self.bits}, channels={len(self.points)}, post_relu={self.normalize.post_relu}"


class NormalizedUniformQuantizer(NormalizedQuantizer):
    """A quantizer to uniform levels of values that are normalized per image and channel, or block.

    low, high: (C,) the outermost levels, normalized.
    """

    def __init__(
        self,
        low,
        high,
        post_relu: bool,
        bits: int,
        channel_dim: int,
        block: int = 0,
        side_bits: int = SIDE_BITS,
    ):
        super().__init__(bits, Normalization(channel_dim, post_relu, block, side_bits))
        self.register_buffer("low", torch.as_tensor(low, dtype=torch.float32).reshape(-1))
        self.register_buffer("high", torch.as_tensor(high, dtype=torch.float32).reshape(-1))

    def levels(self, channel: int) -> np.ndarray:
        """Return the sorted levels of the channel, normalized."""
        low, high = (float(end[channel % len(end)]) for end in (self.low, self.high))
        return np.linspace(low, high, 2**self.bits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the levels, of its shape and dtype; the gradient passes straight through."""
        return straight_through(x, self._quantized(x.detach()).to(x.dtype))

    def _quantized(self, x: torch.Tensor) -> torch.Tensor:
        if self._fused_blocks(x) and is_compiled(x):
            return uniform_in_blocks(x, block_size(x, self.normalize.block), self.low, self.high, self.bits)
        mean, scale = self.normalize(x)
        dim = self.normalize.channel_dim
        low, high = (by_channel(end.to(mean.dtype), x, dim) * scale + mean for end in (self.low, self.high))
        if is_compiled(x) and not self.normalize.in_blocks(x):
            return uniform_levels(x, low, high, self.bits, dim)
        return uniform(x.to(mean.dtype), low, high, self.bits)

    def extra_repr(self) -> str:
        """Return the settings that `print` shows."""
        return f"bits={self.bits}, channels={len(self.low)}, post_relu={self.normalize.post_relu}"


def _follow_points(quantizer: SubsetQuantizer, keys: object) -> None:
    """Update the table of codes after other points were loaded."""
    if quantizer.step is not None:
        quantizer.codes = nearest_codes(quantizer.points, round(1 / quantizer.step))


def nearest_codes(points: torch.Tensor, steps_per_unit: int) -> torch.Tensor:
    """Return the index of the nearest of sorted `points` (C, k <= 256) for every half-grid cell.

    (C, 4 / step) uint8; cells are (low, high], so that a midpoint goes to the lower point.
    """
    middles = (points[:, 1:] + points[:, :-1]) / 2
    # Midpoints lie on edges of cells: rounding to whole cells removes the error of float64.
    edges = torch.round((middles + 1) * 2 * steps_per_unit)
    cells = torch.arange(1, 4 * steps_per_unit + 1, dtype=torch.float64, device=points.device)
    return torch.searchsorted(edges, cells.expand(len(points), -1).contiguous()).to(torch.uint8)
