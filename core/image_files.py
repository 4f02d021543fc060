"""Image files as strangers send them: limits before anything is decoded, a sentence for what is no image."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_FILE_BYTES = 100 * 2**20
MAX_PIXELS = 2**25  # 33.5 million: a photograph of 7680×4320, 0.4 GB as a float tensor
# A progressive JPEG has about 10. Each costs a walk over the whole image (10 ms for 25 megapixels), even an
# empty one of 12 bytes: a file of a million would take hours.
MAX_SCANS = 500
# Of 8 bits a value, and Pillow converts them as one expects; 16 bits are done here, as Pillow clips them.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
BACKGROUND = "white"

_quiet = threading.Lock()  # the filters of `warnings` belong to the process, and images come in threads


def read_rgb(source: str | Path | bytes, name: str) -> np.ndarray:
    """The first frame of an image file as (H, W, 3) uint8; see `core.load_image`."""
    data = source if isinstance(source, bytes) else _read(Path(source), name)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(
            f"{name} has more than {MAX_FILE_BYTES // 2**20} MiB; choose a smaller image or crop it"
        )
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
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:  # reads the header alone
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(name)
        if image.mode not in MODES + SIXTEEN_BITS:
            raise _Refused(
                f"{name} has pixels of the kind {image.mode}; save it as RGB or grey with 8 or 16 bits"
            )
        upright = ImageOps.exif_transpose(image)
    if upright.mode in SIXTEEN_BITS:
        grey = (np.asarray(upright).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if upright.has_transparency_data:
        over = Image.new("RGBA", upright.size, BACKGROUND)
        over.alpha_composite(upright.convert("RGBA"))
        upright = over
    return np.array(upright.convert("RGB"))
