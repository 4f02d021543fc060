"""Image files from unknown sources: limits are checked before decoding, and errors are one clear sentence."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError

from core.images.sixteen_bits import GREY, has_sixteen_bits, planes_apart, rounded
from core.images.tensors import to_tensor

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".dib", ".tif", ".tiff", ".webp"}
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_FILE_BYTES = 100 * 2**20
MAX_PIXELS = 2**25  # 33.5 million: a photograph of 7680×4320, 0.4 GB as a float tensor
# A progressive JPEG has about 10 scans. Each one, even an empty scan of 12 bytes, costs a pass over the whole
# image (10 ms for 25 megapixels): a file with a million of them would take hours.
MAX_SCANS = 500
# Pillow's modes with 8 bits a value, which it converts to RGB correctly.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
BACKGROUND = "white"
PNG = b"\x89PNG\r\n\x1a\n"
TEXT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # chunks of a PNG that no pixel depends on
TURNS = {  # EXIF's orientation -> how to turn the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_quiet = threading.Lock()  # warning filters are global to the process, and several threads load images


def load_image(source: str | Path | bytes, name: str | None = None) -> torch.Tensor:
    """Read an image file, a path or its bytes, as (1, 3, H, W) RGB in [0, 1], whatever its suffix says.

    PNG, JPEG, BMP, TIFF or WebP; the first of several frames. The image is turned as its EXIF says,
    transparent pixels are put on white, 16 bits are rounded to 8. `name` is used in errors; by default the
    file's name. Raises FileNotFoundError, or ValueError with one sentence if this is no readable image or is
    larger than `MAX_FILE_BYTES` or `MAX_PIXELS`; the header tells that before anything is decoded.
    """
    name = name or ("the image" if isinstance(source, bytes) else Path(source).name)
    return to_tensor(read_rgb(source, name))


def read_rgb(source: str | Path | bytes, name: str) -> np.ndarray:
    """Read the first frame of an image file as (H, W, 3) uint8; errors as `core.load_image`."""
    data = source if isinstance(source, bytes) else _read(Path(source), name)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(
            f"{name} has more than {MAX_FILE_BYTES // 2**20} MiB; choose a smaller image or crop it"
        )
    if not data:
        raise ValueError(f"{name} is empty; copy or download it again")
    if data.count(b"\xff\xda") > MAX_SCANS and data.startswith(b"\xff\xd8"):
        raise ValueError(f"{name} has more than {MAX_SCANS} JPEG scans; save it again as PNG")
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damage that Pillow tolerates, and sizes checked below
            return _decoded(data, name)
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{name} is not a readable image: it is none of {', '.join(FORMATS)}; save it as one of these"
        ) from None
    except _Refused:
        raise
    except Exception as error:  # Pillow's readers raise errors of any kind on damaged files
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise ValueError(f"{name} is not a readable image ({reason}); save it again as PNG") from error


def has_transparent_pixels(data: bytes) -> bool:
    """Return whether an image file that `load_image` reads has pixels that show the background."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255


class _Refused(ValueError):
    """The error for an image that could be read but is not accepted."""


def _too_large(name: str) -> _Refused:
    return _Refused(f"{name} has more than {MAX_PIXELS:,} pixels; crop it or reduce its size")


def _read(path: Path, name: str) -> bytes:
    """Read the file, at most `MAX_FILE_BYTES` and one more, which shows that it is too large."""
    if not path.exists():
        raise FileNotFoundError(f"no image at {path}")
    if not path.is_file():  # a pipe or a device might never end
        raise ValueError(f"{name} is not a readable image: it is not a file")
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from error


def _decoded(data: bytes, name: str) -> np.ndarray:
    try:
        return _pixels(data, name)
    except (_Refused, UnidentifiedImageError):
        raise
    except ValueError:  # Pillow refuses the long texts that some programs store in a PNG
        if not data.startswith(PNG):
            raise
        return _pixels(_without_text(data), name)


def _without_text(data: bytes) -> bytes:
    """Return a PNG without the chunks that hold texts and colour profiles."""
    kept, at = [PNG], len(PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] not in TEXT:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _pixels(data: bytes, name: str) -> np.ndarray:
    """Decode to (H, W, 3) uint8, turned as EXIF says, transparent pixels on the background colour."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:  # reads the header alone
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(name)
        if image.mode not in MODES + GREY:
            raise _Refused(
                f"{name} has pixels of the kind {image.mode}; save it as RGB or grey with 8 or 16 bits"
            )
        if planes_apart(image):
            raise _Refused(f"{name} has 16 bits a value in separate planes; save it as PNG")
        plain = rounded(data, image) if has_sixteen_bits(image) else image
        image.load()  # the whole file: EXIF tags may come after the pixels
        turn = TURNS.get(_orientation(image))
        upright = plain if turn is None else plain.transpose(turn)
        if upright.has_transparency_data:
            over = Image.new("RGBA", upright.size, BACKGROUND)
            over.alpha_composite(upright.convert("RGBA"))
            upright = over
        return np.array(upright.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation; 1 (upright) if it cannot be read, since a broken tag breaks no pixel."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(found[0] if isinstance(found, tuple) else found)
    except Exception:  # Pillow raises errors of any kind on damaged tags
        return 1
