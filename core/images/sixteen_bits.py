"""Images of 16 bits a value, which Pillow cuts to their upper bytes, rounded to 8 bits."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

GREY = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's only modes that keep all bits
MOST = 2**16 - 1
# Values named by one byte order and read by the other: Pillow then keeps the lower byte.
OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
BITS_PER_SAMPLE, PLANES = 258, 284  # tags of TIFF
APART = 2  # all of one colour, then all of the next


def has_sixteen_bits(image: Image.Image) -> bool:
    """Whether the file, opened but not loaded, holds 16 bits a value."""
    return image.mode in GREY or any(";16" in kind for kind in _kinds(image))


def planes_apart(image: Image.Image) -> bool:
    """Whether it is a TIFF of 16 bits whose colours lie one after the other, which Pillow reads wrongly."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(PLANES) == APART and tags.get(BITS_PER_SAMPLE, (8,))[0] == 16 and image.mode not in GREY


def rounded(data: bytes, image: Image.Image) -> Image.Image:
    """Read `data`, which `image` has opened but not loaded, with every value v as round(v / 257).

    Grey and RGB become RGB, CMYK stays. What is transparent lies on white; that comes before the rounding.
    The file must not be one of `planes_apart`.
    """
    values, key = _values(data, image), image.info.get("transparency")
    if key is not None:  # the one colour of a PNG that is not to be seen
        seen = (values != np.asarray(key, np.uint32)).any(-1, keepdims=True)
        values = np.where(seen, values, MOST)
    elif image.mode == "RGBA":
        values = _on_white(values[..., :-1], values[..., -1:], premultiplied="RGBa" in _kinds(image)[0])
    eight = ((values + 128) // 257).astype(np.uint8)
    if eight.shape[-1] == 1:
        eight = np.repeat(eight, 3, axis=2)
    return Image.fromarray(eight, "CMYK" if image.mode == "CMYK" else "RGB")


def _values(data: bytes, image: Image.Image) -> np.ndarray:
    """(H, W, C) as they are stored, alpha last."""
    if image.mode in GREY:
        return np.asarray(image).astype(np.uint32)[..., None]
    if "LA;16B" in _kinds(image):  # as many bytes a pixel as 8-bit RGBA
        pairs = _read(data, lambda kind: "RGBA")
        return 256 * pairs[..., ::2] + pairs[..., 1::2]
    upper = _read(data, lambda kind: kind.replace("RGBa", "RGBA"))  # not yet divided by alpha
    lower = _read(data, lambda kind: kind.replace("RGBa", "RGBA")[:-1] + OTHER[kind[-1]])
    return 256 * upper + lower


def _on_white(colours: np.ndarray, alpha: np.ndarray, premultiplied: bool) -> np.ndarray:
    """No sum is beyond 32 bits."""
    if premultiplied:
        return np.minimum(colours, alpha) + (MOST - alpha)
    return (colours * alpha + MOST * (MOST - alpha) + MOST // 2) // MOST


def _kinds(image: Image.Image) -> list[str]:
    """What Pillow calls the values in the file, as "RGB;16B"; of every part of the file."""
    firsts = [tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile]
    return [kind for kind in firsts if isinstance(kind, str)]


def _read(data: bytes, called: Callable[[str], str]) -> np.ndarray:
    """The 8-bit values of the file when they are called something else, as 32-bit numbers."""
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
