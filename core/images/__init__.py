"""Images as tensors (N, 3, H, W), RGB in [0, 1]: read, resize, pair, score."""

from core.images.photographs import demo_image, demo_names
from core.images.reading import IMAGE_SUFFIXES, load_image
from core.images.resize import bicubic, make_lr
from core.images.tensors import Pair, check_images, luma, modcrop, round_8bit, to_tensor, to_uint8

__all__ = [
    "IMAGE_SUFFIXES",
    "Pair",
    "bicubic",
    "check_images",
    "demo_image",
    "demo_names",
    "load_image",
    "luma",
    "make_lr",
    "modcrop",
    "round_8bit",
    "to_tensor",
    "to_uint8",
]
