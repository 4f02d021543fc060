"""Photographs that scikit-image and scikit-learn package, usable without a download."""

from __future__ import annotations

import numpy as np
import torch

from core.images.tensors import modcrop, to_tensor


def demo_names() -> list[str]:
    """Names of the photographs that scikit-image and scikit-learn package, usable without a download."""
    return list(_DEMO)


def demo_image(name: str) -> torch.Tensor:
    """A packaged photograph as (1, 3, H, W), both sides cropped to multiples of 12."""
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
        from sklearn.datasets import load_sample_image

        return np.array(load_sample_image(name))  # a copy, as torch wants it writable

    return load


_DEMO = {
    "astronaut (scikit-image)": _skimage("astronaut"),
    "coffee (scikit-image)": _skimage("coffee"),
    "chelsea the cat (scikit-image)": _skimage("chelsea"),
    "rocket (scikit-image)": _skimage("rocket"),
    "china (scikit-learn)": _sklearn("china.jpg"),
    "flower (scikit-learn)": _sklearn("flower.jpg"),
}
