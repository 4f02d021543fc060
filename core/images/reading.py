"""Image files as strangers send them: limits before anything is decoded, a sentence for what is no image."""

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
# A progressive JPEG has about 10. Each costs a walk over the whole image (10 ms for 25 megapixels), even an
# empty one of 12 bytes: a file of a million would take hours.
MAX_SCANS = 500
# Of 8 bits a value, and Pillow converts them as one expects.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
BACKGROUND = "white"
PNG = b"\x89PNG\r\n\x1a\n"
TEXT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # chunks of a PNG that no pixel depends on
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_quiet = threading.Lock()  # the filters of `warnings` belong to the process, and images come in threads


def load_image(source: str | Path | bytes, name: str | None = None) -> torch.Tensor:
    """Read the path or the bytes of an image file as (1, 3, H, W) RGB in [0, 1], whatever its suffix says.

    PNG, JPEG, BMP, TIFF and WebP; of several frames the first. Turned as its EXIF says; what is transparent
    lies on white; 16 bits are rounded to 8. `name` stands in errors: the file's, if it is not given.
    Raises FileNotFoundError, or ValueError with one sentence for what is no readable image or beyond
    `MAX_FILE_BYTES` or `MAX_PIXELS`, which the header tells before anything is decoded.
    """
    name = name or ("the image" if isinstance(source, bytes) else Path(source).name)
    return to_tensor(read_rgb(source, name))


def read_rgb(source: str | Path | bytes, name: str) -> np.ndarray:
    """The first frame of an image file as (H, W, 3) uint8; see `core.load_image`."""
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
            warnings.simplefilter("ignore")  # of damage that Pillow reads past, and of sizes checked below
            return _decoded(data, name)
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{name} is not a readable image: it is none of {', '.join(FORMATS)}; save it as one of these"
        ) from None
    except _Refused:
        raise
    except Exception as error:  # Pillow's readers raise what a damaged file happens to provoke
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise ValueError(f"{name} is not a readable image ({reason}); save it again as PNG") from error


class _Refused(ValueError):
    """Of an image that could be read but is not taken."""


def _too_large(name: str) -> _Refused:
    return _Refused(f"{name} has more than {MAX_PIXELS:,} pixels; crop it or reduce its size")


def _read(path: Path, name: str) -> bytes:
    """No more of the file than shows that it is too large."""
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
    except ValueError:  # so Pillow refuses long texts, as some programs keep in their PNG
        if not data.startswith(PNG):
            raise
        return _pixels(_without_text(data), name)


def _without_text(data: bytes) -> bytes:
    """A PNG without the chunks that hold texts and colour profiles."""
    kept, at = [PNG], len(PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] not in TEXT:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _pixels(data: bytes, name: str) -> np.ndarray:
    """(H, W, 3) uint8, turned as its EXIF says, on the background where it is transparent."""
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
        image.load()  # to the end, where tags may stand
        turn = TURNS.get(_orientation(image))
        upright = plain if turn is None else plain.transpose(turn)
        if upright.has_transparency_data:
            over = Image.new("RGBA", upright.size, BACKGROUND)
            over.alpha_composite(upright.convert("RGBA"))
            upright = over
        return np.array(upright.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """As EXIF says; 1 where it cannot be read, since a broken tag breaks no pixel."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(found[0] if isinstance(found, tuple) else found)
    except Exception:  # Pillow raises what a damaged tag happens to provoke
        return 1
