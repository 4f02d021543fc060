"""Images with 16 bits a value, rounded to 8 bits; Pillow alone would keep only the upper byte."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

GREY = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's only modes that keep all bits
WHITE = 2**16 - 1
# The other byte order. Read in the wrong byte order, Pillow keeps the lower byte instead of the upper.
OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
BITS_PER_SAMPLE, PLANES = 258, 284  # tags of TIFF
APART = 2  # TIFF's code for separate planes: all of one colour, then all of the next


def has_sixteen_bits(image: Image.Image) -> bool:
    """Return whether the file, opened but not loaded, holds 16 bits a value."""
    return image.mode in GREY or any(";16" in kind for kind in _kinds(image))


def planes_apart(image: Image.Image) -> bool:
    """Return whether the image is a 16-bit TIFF with separate colour planes, which Pillow reads wrongly."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(PLANES) == APART and tags.get(BITS_PER_SAMPLE, (8,))[0] == 16 and image.mode not in GREY


def rounded(data: bytes, image: Image.Image) -> Image.Image:
    """Read `data`, which `image` has opened but not loaded, with every value v rounded to round(v / 257).

    Grey and RGB become RGB, CMYK stays. Transparent pixels are put on white before the rounding. The file
    must not be one of `planes_apart`.
    """
    values, key = _values(data, image), image.info.get("transparency")
    if key is not None:  # the one colour that a PNG declares transparent
        seen = (values != np.asarray(key, np.uint32)).any(-1, keepdims=True)
        values = np.where(seen, values, WHITE)
    elif image.mode == "RGBA":
        values = _on_white(values[..., :-1], values[..., -1:], premultiplied="RGBa" in _kinds(image)[0])
    eight = ((values + 128) // 257).astype(np.uint8)
    if eight.shape[-1] == 1:
        eight = np.repeat(eight, 3, axis=2)
    return Image.fromarray(eight, "CMYK" if image.mode == "CMYK" else "RGB")


def _values(data: bytes, image: Image.Image) -> np.ndarray:
    """Read the stored values as (H, W, C), alpha last."""
    if image.mode in GREY:
        return np.asarray(image).astype(np.uint32)[..., None]
    if "LA;16B" in _kinds(image):  # as many bytes a pixel as 8-bit RGBA
        pairs = _read(data, lambda kind: "RGBA")
        return 256 * pairs[..., ::2] + pairs[..., 1::2]
    upper = _read(data, lambda kind: kind.replace("RGBa", "RGBA"))  # not yet divided by alpha
    lower = _read(data, lambda kind: kind.replace("RGBa", "RGBA")[:-1] + OTHER[kind[-1]])
    return 256 * upper + lower


def _on_white(colours: np.ndarray, alpha: np.ndarray, premultiplied: bool) -> np.ndarray:
    """Blend the colours with white by their alpha; no sum exceeds 32 bits."""
    if premultiplied:
        return np.minimum(colours, alpha) + (WHITE - alpha)
    return (colours * alpha + WHITE * (WHITE - alpha) + WHITE // 2) // WHITE


def _kinds(image: Image.Image) -> list[str]:
    """Return Pillow's name for the stored values, such as "RGB;16B", for every part of the file."""
    firsts = [tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile]
    return [kind for kind in firsts if isinstance(kind, str)]


def _read(data: bytes, called: Callable[[str], str]) -> np.ndarray:
    """Read the 8-bit values, as uint32, that Pillow finds when told that their kind is `called(kind)`."""
    with Image.open(io.BytesIO(data), formats=("PNG", "TIFF")) as image:
        image.tile = [
            tile._replace(
                args=(called(tile.args[0]), *tile.args[1:])
                if isinstance(tile.args, tuple)
                else called(tile.args)
            )
            for tile in image.tile
        ]
        return np.asarray(image).astype(np.uint32)
