"""Images as tensors: pairs, checks, 8 bits, luma.

Everywhere in this project images are float32 tensors of shape (N, 3, H, W), RGB in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch


class Pair(NamedTuple):
    """A low-resolution image and its ground truth, each (1, 3, H, W)."""

    name: str
    lr: torch.Tensor
    hr: torch.Tensor


def check_images(
    images: torch.Tensor, what: str = "images", channels: tuple[int, ...] = (3,)
) -> torch.Tensor:
    """Return `images` if it is a float (N, 3, H, W) tensor of about [0, 1], else raise ValueError.

    channels: the numbers of channels that are allowed; one channel is luma / 255.
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[1] not in channels:
        came = tuple(images.shape) if hasattr(images, "shape") else type(images).__name__
        raise ValueError(f"{what} must be a tensor of shape (N, {channels[-1]}, H, W), got {came}")
    if not images.is_floating_point():
        raise ValueError(f"{what} must be floating point in [0, 1], got {images.dtype}")
    if 0 in images.shape:
        raise ValueError(f"{what} must not be empty, got shape {tuple(images.shape)}")
    if not torch.isfinite(images).all():
        raise ValueError(f"{what} must be finite, got NaN or infinity")
    if images.abs().max() > 16:  # an SR may overshoot [0, 1], but not like this
        raise ValueError(
            f"{what} must lie in [0, 1], got values up to {images.abs().max():.4g}; divide by 255"
        )
    return images


def to_tensor(array: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 array -> (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None].float() / 255


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """(N, 3, H, W) in [0, 1] -> (N, H, W, 3) uint8, clamped and rounded."""
    return (images.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def round_8bit(images: torch.Tensor) -> torch.Tensor:
    """Clamp to [0, 1] and round to multiples of 1/255, as saving to an 8-bit file would."""
    return (images.clamp(0, 1) * 255).round() / 255


def luma(images: torch.Tensor) -> torch.Tensor:
    """BT.601 luma in [16, 235] of (N, 3, H, W) RGB in [0, 1] -> (N, 1, H, W) float64."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=images.device)
    return torch.einsum("nchw,c->nhw", images.double(), weights)[:, None] + 16


def modcrop(images: torch.Tensor, scale: int) -> torch.Tensor:
    """Crop at the bottom and right so that height and width are multiples of `scale`."""
    height, width = images.shape[-2] // scale * scale, images.shape[-1] // scale * scale
    return images[..., :height, :width]
