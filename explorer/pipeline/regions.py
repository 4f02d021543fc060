"""The part of an image that is super-resolved."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from PIL import Image

from explorer.choices import catalog
from explorer.choices.state import CENTRE, PLACE, WHOLE
from explorer.jobs.cache import shared
from explorer.jobs.token import Token

SIDE = 128  # LR pixels of a region
TILE = 320  # LR pixels by which larger images are worked; the packaged photographs fit into one
WHOLE_MEGAPIXELS = 4  # of an SR that the page shows whole
THUMBNAIL = 270


class Window(NamedTuple):
    """In LR pixels."""

    top: int
    left: int
    height: int
    width: int


def window(region: str, height: int, width: int) -> Window:
    """The part of an LR image of that size."""
    if region == WHOLE:
        return Window(0, 0, height, width)
    x, y = (500, 500) if region == CENTRE else map(int, re.fullmatch(PLACE, region).groups())
    rows, columns = min(SIDE, height), min(SIDE, width)
    if region == CENTRE:
        return Window((height - rows) // 2, (width - columns) // 2, rows, columns)
    top, left = round(y / 1000 * height) - rows // 2, round(x / 1000 * width) - columns // 2
    return Window(min(max(top, 0), height - rows), min(max(left, 0), width - columns), rows, columns)


def in_words(region: str) -> str:
    """centre, whole, or where its middle is."""
    if region in (CENTRE, WHOLE):
        return region
    x, y = (int(part) / 10 for part in region.split(","))
    return f"{SIDE}×{SIDE} LR around {x:g} % from the left, {y:g} % from the top"


def too_large(image: str, scale: int) -> str:
    """Why the image is not shown whole, in a sentence; empty if it is."""
    height, width = catalog.lr_size(image, scale)
    megapixels = height * width * scale**2 / 1e6
    if megapixels <= WHOLE_MEGAPIXELS:
        return ""
    return (
        f"the whole image has an SR of {megapixels:.1f} megapixels, and the page shows up to "
        f"{WHOLE_MEGAPIXELS}; choose a part of it"
    )


@shared(32)
def thumbnail(image: str, token: Token) -> np.ndarray:
    """(H, W, 3) uint8, its longer side THUMBNAIL pixels at most."""
    small = Image.fromarray(catalog.pixels(image))
    small.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=2)
    return np.array(small)


def by_tiles(image: str, scale: int, region: str) -> bool:
    """Whether the region is worked by tiles."""
    return region == WHOLE and max(catalog.lr_size(image, scale)) > TILE
