"""Luma and chroma, for networks that super-resolve luma alone.

BT.601 as MATLAB's rgb2ycbcr, divided by 255: luma in [16, 235] / 255, chroma in [16, 240] / 255. Networks of
one channel (SRCNN, VDSR, LapSRN, ...) were trained on it, and `core.images.luma` scores it.
"""

from __future__ import annotations

import torch

from core.images import bicubic, luma

CHROMA = torch.tensor([[-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=torch.float64)


def luma_of(images: torch.Tensor) -> torch.Tensor:
    """Return the luma of (N, 3, H, W) RGB in [0, 1] as (N, 1, H, W) in [16, 235] / 255."""
    return (luma(images) / 255).to(images.dtype)


def with_chroma(sr_luma: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
    """Return RGB (N, 3, scale*H, scale*W) of a luma picture and the LR's chroma, enlarged bicubically.

    sr_luma: (N, 1, scale*H, scale*W), as `luma_of`; lr: (N, 3, H, W) RGB in [0, 1]. Not clamped.
    """
    scale = sr_luma.shape[-1] // lr.shape[-1]
    matrix = CHROMA.to(sr_luma.device)
    chroma = (torch.einsum("nchw,dc->ndhw", lr.double().to(matrix.device), matrix) + 128) / 255
    y, cb, cr = torch.cat([sr_luma.double(), bicubic(chroma, scale)], 1).mul(255).unbind(1)
    y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    # The inverse, from Kr = 0.299 and Kb = 0.114.
    red, blue = y + 2 * (1 - 0.299) * cr, y + 2 * (1 - 0.114) * cb
    return torch.stack([red, (y - 0.299 * red - 0.114 * blue) / 0.587, blue], 1).to(sr_luma.dtype)
