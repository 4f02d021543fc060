"""Photographs that scikit-image and scikit-learn package, usable without a download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.images.tensors import modcrop, to_tensor


def demo_names() -> list[str]:
    """Return the names of the photographs that scikit-image and scikit-learn package."""
    return list(_DEMO)


def demo_image(name: str) -> torch.Tensor:
    """Return a packaged photograph as (1, 3, H, W), both sides cropped to multiples of 12.

    ValueError lists the names that exist.
    """
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
        """Read the file that `sklearn.datasets.load_sample_image` reads, without seconds of imports."""
        (package,) = find_spec("sklearn").submodule_search_locations
        with Image.open(Path(package) / "datasets" / "images" / name) as image:
            return np.array(image)

    return load


_DEMO = {
    "astronaut (scikit-image)": _skimage("astronaut"),
    "coffee (scikit-image)": _skimage("coffee"),
    "chelsea the cat (scikit-image)": _skimage("chelsea"),
    "rocket (scikit-image)": _skimage("rocket"),
    "china (scikit-learn)": _sklearn("china.jpg"),
    "flower (scikit-learn)": _sklearn("flower.jpg"),
}
