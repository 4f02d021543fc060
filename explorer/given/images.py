"""Images that a program brings: tensors, arrays, Pillow images and files, checked when they are given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.images.folders import image_files
from core.images.reading import read_rgb
from explorer.choices.sources import ImageSource

SMALLEST = 64  # pixels of a side of an HR
SMALLEST_LR = 16
Picture = torch.Tensor | np.ndarray | Image.Image | str | Path


def given_images(images: Mapping[str, Picture] | Iterable[Picture] | Picture | None, is_lr: bool) -> dict:
    """Return key -> image of images by name, in a list, or of one; a folder stands for its images.

    Tensors (3, H, W) or (1, 3, H, W) and arrays (H, W, 3), in [0, 1] or uint8; grey ones may lack the colour
    dimension. is_lr: whether they are LR without ground truth. ValueError for what is no image.
    """
    found: dict[str, ImageSource] = {}
    for name, picture in _named(images):
        pixels, code = _pixels(name, picture)
        least = SMALLEST_LR if is_lr else SMALLEST
        if min(pixels.shape[:2]) < least:
            size = f"{pixels.shape[1]}×{pixels.shape[0]}"
            raise ValueError(f"{name} has {size} pixels; at least {least}×{least} are needed")
        pixels = np.ascontiguousarray(pixels)
        pixels.setflags(write=False)
        token = hashlib.blake2b(pixels, digest_size=6).hexdigest()
        kind = "lr" if is_lr else "hr"
        found[f"own:{kind}:{token}:{name}"] = ImageSource(name, pixels, is_lr, code)
    return found


def _named(images) -> Iterable[tuple[str, Picture]]:
    if images is None:
        return
    if isinstance(images, Mapping):
        yield from ((str(name), picture) for name, picture in images.items())
        return
    if isinstance(images, Picture):
        images = [images]
    for number, picture in enumerate(images, 1):
        if isinstance(picture, str | Path) and Path(picture).expanduser().is_dir():
            yield from ((file.name, file) for file in image_files(Path(picture).expanduser()))
        elif isinstance(picture, str | Path):
            yield Path(picture).name, picture
        else:
            yield f"image {number}", picture


def _pixels(name: str, picture: Picture) -> tuple[np.ndarray, str]:
    """Return (H, W, 3) uint8, and the Python that reads it, or says what is to be put in."""
    if isinstance(picture, str | Path):
        path = Path(picture).expanduser()
        try:
            return read_rgb(path, name), f"core.load_image({str(path)!r})"
        except FileNotFoundError as error:
            raise ValueError(f"{name}: {error}") from error
    code = f"...  # put your image {name!r} in here: (1, 3, H, W) in [0, 1]"
    if isinstance(picture, Image.Image):
        return np.array(picture.convert("RGB")), code
    if isinstance(picture, torch.Tensor):
        array = picture.detach().cpu().numpy()
        array = array[0] if array.ndim == 4 and len(array) == 1 else array
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(picture, np.ndarray):
        array = picture
    else:
        raise ValueError(
            f"{name} is a {type(picture).__name__}; give a tensor, an array, a Pillow image or a path"
        )
    return _eight_bits(name, array), code


def _eight_bits(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise ValueError(
            f"{name} has the shape {array.shape}; give a tensor (1, 3, H, W) or an array (H, W, 3)"
        )
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"{name} holds {array.dtype}; give uint8, or floating point in [0, 1]")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
        if np.abs(array).max() > 1.5:
            raise ValueError(
                f"{name} has values up to {np.abs(array).max():.4g}; give uint8, or divide by 255"
            )
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    return np.broadcast_to(array, (*array.shape[:2], 3))
