"""Which images can be shown whole, which are computed in tiles, and their thumbnails."""

from __future__ import annotations

import numpy as np
from PIL import Image

from explorer.choices import catalog
from explorer.choices.region import WHOLE
from explorer.jobs.cache import shared
from explorer.jobs.token import Token

TILE = 320  # LR pixels of a tile's side; the packaged photographs fit into one
WHOLE_MEGAPIXELS = 4  # of an SR that the page shows whole
THUMBNAIL = 270


def too_large(image: str, scale: int) -> str:
    """Say why the image cannot be shown whole; empty if it can."""
    height, width = catalog.lr_size(image, scale)
    megapixels = height * width * scale**2 / 1e6
    if megapixels <= WHOLE_MEGAPIXELS:
        return ""
    return (
        f"The SR of the whole image has {megapixels:.1f} megapixels; the limit is {WHOLE_MEGAPIXELS}, "
        "choose a part of it"
    )


@shared(32)
def thumbnail(image: str, token: Token) -> np.ndarray:
    """Shrink the image to (H, W, 3) uint8, its longer side THUMBNAIL pixels at most."""
    small = Image.fromarray(catalog.pixels(image))
    small.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=2)
    return np.array(small)


def by_tiles(image: str, scale: int, region: str) -> bool:
    """Tell whether the region is computed in tiles."""
    return region == WHOLE and max(catalog.lr_size(image, scale)) > TILE
