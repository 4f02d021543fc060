"""Images: loading, luma, bicubic resizing as MATLAB's imresize, demo photographs.

Everywhere in this project images are float32 tensors of shape (N, 3, H, W), RGB in [0, 1].
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from core.image_files import read_rgb

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".dib", ".tif", ".tiff", ".webp"}


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


def load_image(source: str | Path | bytes, name: str | None = None) -> torch.Tensor:
    """Read the path or the bytes of an image file as (1, 3, H, W) RGB in [0, 1], whatever its suffix says.

    PNG, JPEG, BMP, TIFF and WebP; of several frames the first. Turned as its EXIF says; what is transparent
    lies on white; 16 bits are rounded to 8. `name` stands in errors: the file's, if it is not given.
    Raises FileNotFoundError, or ValueError with one sentence for what is no readable image or beyond
    `MAX_FILE_BYTES` or `MAX_PIXELS` of `core.image_files`, which the header tells before anything is decoded.
    """
    name = name or ("the image" if isinstance(source, bytes) else Path(source).name)
    return to_tensor(read_rgb(source, name))


def luma(images: torch.Tensor) -> torch.Tensor:
    """BT.601 luma in [16, 235] of (N, 3, H, W) RGB in [0, 1] -> (N, 1, H, W) float64."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=images.device)
    return torch.einsum("nchw,c->nhw", images.double(), weights)[:, None] + 16


def modcrop(images: torch.Tensor, scale: int) -> torch.Tensor:
    """Crop at the bottom and right so that height and width are multiples of `scale`."""
    height, width = images.shape[-2] // scale * scale, images.shape[-1] // scale * scale
    return images[..., :height, :width]


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.lru_cache(maxsize=64)
def _resize_weights(length: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Source indices and weights, both (output length, taps), of a 1-D bicubic resize."""
    stretch = min(factor, 1.0)  # antialiasing: a reduction widens the kernel
    taps = int(np.ceil(4 / stretch)) + 2
    centre = (np.arange(int(np.ceil(length * factor - 1e-9))) + 0.5) / factor - 0.5
    index = np.floor(centre - 2 / stretch).astype(int)[:, None] + np.arange(taps)
    weights = stretch * _cubic(stretch * (centre[:, None] - index))
    return index.clip(0, length - 1), weights / weights.sum(1, keepdims=True)


def bicubic(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Resize (..., H, W) in [0, 1] by `factor` as MATLAB's imresize does with 8-bit images.

    a = -0.5, antialiased when reducing, edge pixels repeated; height first, and rounded to 8 bits after
    each direction (without that step a third of the pixels of the benchmarks' LR differ by one level).
    """
    x = images.double() * 255
    for dim in (-2, -1):
        index, weights = _resize_weights(images.shape[dim], float(factor))
        index, weights = torch.from_numpy(index).to(x.device), torch.from_numpy(weights).to(x.device)
        x = x.movedim(dim, -1)
        rows = sum(x[..., index[:, tap]] * weights[:, tap] for tap in range(index.shape[1]))
        # Ties round up; the small term absorbs float64's error in sums that are exact ties.
        x = (rows.movedim(-1, dim) + 0.5 + 1e-9).floor().clamp(0, 255)
    return (x / 255).to(images.dtype)


def make_lr(hr: torch.Tensor, scale: int) -> torch.Tensor:
    """The field's bicubic low-resolution image: modcrop and reduce. ValueError if no pixel would be left."""
    height, width = hr.shape[-2:]
    if min(height, width) < scale:
        raise ValueError(
            f"an image of {width}×{height} pixels is too small for ×{scale}; choose a larger one"
        )
    return bicubic(modcrop(hr, scale), 1 / scale)


def demo_names() -> list[str]:
    """Names of the photographs that scikit-image and scikit-learn package, usable without a download."""
    return list(_DEMO)


def demo_image(name: str) -> torch.Tensor:
    """A packaged photograph as (1, 3, H, W), both sides cropped to multiples of 12."""
    if name not in _DEMO:
        raise ValueError(f"no demo image {name!r}; there are {', '.join(_DEMO)}")
    return modcrop(to_tensor(_DEMO[name]()), 12)


def _skimage(name: str):
    def load() -> np.ndarray:
        from skimage import data  # deferred: imports slowly and only demo images need it

        return getattr(data, name)()

    return load


def _sklearn(name: str):
    def load() -> np.ndarray:
        from sklearn.datasets import load_sample_image

        return np.array(load_sample_image(name))  # a copy, as torch wants it writable

    return load


_DEMO = {
    "astronaut (scikit-image)": _skimage("astronaut"),
    "coffee (scikit-image)": _skimage("coffee"),
    "chelsea the cat (scikit-image)": _skimage("chelsea"),
    "rocket (scikit-image)": _skimage("rocket"),
    "china (scikit-learn)": _sklearn("china.jpg"),
    "flower (scikit-learn)": _sklearn("flower.jpg"),
}
