"""SwinIR-light (Liang et al. 2021, arXiv 2108.10257) with the parameter names of the authors' checkpoints."""

from __future__ import annotations

import re
from collections import Counter

import torch
import torch.nn.functional as F
from torch import nn

from core.models.edsr import RGB_MEAN
from core.models.state_dict import ends_of, numbered, require
from core.networks.products import Operand, Product

MAX_WINDOW = 32  # pixels a side; attention needs memory for their fourth power, whatever the file's size


def to_windows(x: torch.Tensor, size: int) -> torch.Tensor:
    """Cut (N, H, W, C) into windows: (N * H/size * W/size, size * size, C)."""
    n, h, w, c = x.shape
    x = x.view(n, h // size, size, w // size, size, c)
    return x.transpose(2, 3).reshape(-1, size * size, c)


def from_windows(windows: torch.Tensor, size: int, shape: torch.Size) -> torch.Tensor:
    """Join windows to images of `shape` (N, H, W, C): the inverse of `to_windows`."""
    n, h, w, c = shape
    x = windows.view(n, h // size, w // size, size, size, c)
    return x.transpose(2, 3).reshape(shape)


def relative_positions(size: int) -> torch.Tensor:
    """Return (size**2, size**2): the row of the bias table for every pair of pixels of a window."""
    at = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    offset = at[:, None] - at[None, :] + size - 1
    return offset[..., 0] * (2 * size - 1) + offset[..., 1]


def shift_mask(h: int, w: int, size: int, shift: int, device: torch.device) -> torch.Tensor:
    """Return the attention mask of shifted windows, (windows, 1, size**2, size**2).

    -100 between pixels that are neighbours only because of the cyclic shift, else 0.
    """

    def region(length: int) -> torch.Tensor:
        at = torch.arange(length, device=device)
        return (at >= length - size).int() + (at >= length - shift).int()

    label = 3 * region(h)[:, None] + region(w)[None, :]
    windows = to_windows(label[None, :, :, None], size)[..., 0]
    return -100.0 * (windows[:, None, :, None] != windows[:, None, None, :])


class WindowAttention(nn.Module):
    """Multi-head self-attention among the pixels of a window, with a learned bias by relative position."""

    def __init__(self, n_feats: int, size: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * size - 1) ** 2, n_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_positions(size), persistent=False)
        self.qkv = nn.Linear(n_feats, 3 * n_feats)
        self.proj = nn.Linear(n_feats, n_feats)
        width = n_feats // n_heads
        self.scores = Product(width, width, transposed=True)
        self.mix = Product(size**2, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the attended windows, of x's shape (windows, pixels, C); mask: from `shift_mask`."""
        n, pixels, c = x.shape
        q, k, v = self.qkv(x).view(n, pixels, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = bias[None] if mask is None else (bias + mask).repeat(n // len(mask), 1, 1, 1)
        y = self.mix(torch.softmax(self.scores(q * q.shape[-1] ** -0.5, k) + bias, -1), v)
        return self.proj(y.transpose(1, 2).reshape(n, pixels, c))


class Mlp(nn.Module):
    """Two Linear layers with a GELU between them."""

    def __init__(self, n_feats: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(n_feats, hidden), nn.Linear(hidden, n_feats)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output, of x's shape (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Attention in windows, shifted by half a window in every second block, then an MLP; (N, H, W, C)."""

    def __init__(self, n_feats: int, size: int, n_heads: int, hidden: int, shift: int):
        super().__init__()
        self.size, self.shift = size, shift
        self.norm1, self.norm2 = nn.LayerNorm(n_feats), nn.LayerNorm(n_feats)
        self.attn = WindowAttention(n_feats, size, n_heads)
        self.mlp = Mlp(n_feats, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, of x's shape (N, H, W, C)."""
        y, mask = self.norm1(x), None
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
            mask = shift_mask(*x.shape[1:3], self.size, self.shift, x.device)
        y = from_windows(self.attn(to_windows(y, self.size), mask), self.size, x.shape)
        x = x + (y.roll((self.shift, self.shift), (1, 2)) if self.shift else y)
        return x + self.mlp(self.norm2(x))


class ResidualGroup(nn.Module):
    """Swin blocks and a conv, added to the input (the authors' RSTB); (N, H, W, C)."""

    def __init__(self, n_feats: int, size: int, n_heads: int, hidden: int, depth: int):
        super().__init__()
        shifts = [0 if i % 2 == 0 else size // 2 for i in range(depth)]
        self.residual_group = nn.Module()
        self.residual_group.blocks = nn.ModuleList(
            SwinBlock(n_feats, size, n_heads, hidden, shift) for shift in shifts
        )
        self.conv = nn.Conv2d(n_feats, n_feats, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the group's output, of x's shape (N, H, W, C)."""
        y = x
        for block in self.residual_group.blocks:
            y = block(y)
        return x + self.conv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SwinIR(nn.Module):
    """SwinIR: (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    The defaults are the authors' light network. Images whose size is no multiple of the window are padded by
    reflection, as the authors do.
    """

    about = "A transformer: attention in windows; it is quantized in its Linear layers and in attention."
    scope_in_words = (
        "the Linear layers of every block, q, k, v and the attention map, as 2DQuant (arXiv 2406.06649)"
    )

    def __init__(
        self,
        scale: int = 2,
        n_feats: int = 60,
        depths: tuple[int, ...] = (6, 6, 6, 6),
        n_heads: int = 6,
        window: int = 8,
        hidden: int = 120,
        colours: int = 3,
    ):
        super().__init__()
        if n_feats % n_heads:
            raise ValueError(f"n_feats must be a multiple of n_heads, got {n_feats} and {n_heads}")
        self.scale, self.window = scale, window
        mean = RGB_MEAN if colours == 3 else (0.0,) * colours
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(colours, n_feats, 3, padding=1)
        self.patch_embed = nn.Module()
        self.patch_embed.norm = nn.LayerNorm(n_feats)
        self.layers = nn.ModuleList(
            ResidualGroup(n_feats, window, n_heads, hidden, depth) for depth in depths
        )
        self.norm = nn.LayerNorm(n_feats)
        self.conv_after_body = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(n_feats, colours * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the SR images (N, 3, scale*H, scale*W) of LR images (N, 3, H, W)."""
        h, w = x.shape[-2:]
        first = self.conv_first(self._padded(x - self.mean))
        y = self.patch_embed.norm(first.permute(0, 2, 3, 1))
        for layer in self.layers:
            y = layer(y)
        y = self.conv_after_body(self.norm(y).permute(0, 3, 1, 2)) + first
        return self.upsample(y)[..., : h * self.scale, : w * self.scale] + self.mean

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        down, right = (-x.shape[-2] % self.window, -x.shape[-1] % self.window)
        # An image smaller than its padding cannot be reflected.
        mode = "reflect" if down < x.shape[-2] and right < x.shape[-1] else "replicate"
        return F.pad(x, (0, right, 0, down), mode)

    def quantized_scope(self, name: str, module: nn.Module) -> bool:
        """Return whether the layer is quantized by default (`scope_in_words`)."""
        return isinstance(module, (nn.Linear, Operand))

    @classmethod
    def from_state(cls, state: dict[str, torch.Tensor]) -> SwinIR:
        """Return an untrained network of the tensors' sizes.

        KeyError names a missing tensor; ValueError for a window above MAX_WINDOW.
        """
        block = "layers.0.residual_group.blocks.0"
        for name in (f"{block}.attn.relative_position_bias_table", f"{block}.mlp.fc1.weight"):
            if name not in state or state[name].ndim != 2:
                raise KeyError(f"{name} is missing")
        table = state[f"{block}.attn.relative_position_bias_table"]
        window = (round(len(table) ** 0.5) + 1) // 2
        if window > MAX_WINDOW:
            raise ValueError(f"the window must have at most {MAX_WINDOW} pixels a side, got {window}")
        n_layers = numbered(state, r"layers\.(\d+)\.conv\.weight")
        blocks = r"layers\.(\d+)\.residual_group\.blocks\.\d+\.norm1\.weight"
        depths = Counter(m[1] for name in state if (m := re.fullmatch(blocks, name)))
        n_feats, colours = ends_of(state, "conv_first.weight")
        return cls(
            round((require(state, "upsample.0.weight").shape[0] / colours) ** 0.5),
            n_feats,
            tuple(depths[str(i)] for i in range(n_layers)),
            table.shape[1],
            window,
            len(state[f"{block}.mlp.fc1.weight"]),
            colours,
        )
