"""Super-resolution networks by name, bundled weights and public checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from torch import nn

from core.models.checkpoints import load_checkpoint, network_from_state
from core.models.edsr import EDSR, RGB_MEAN
from core.models.folding import fold_batchnorm
from core.models.mobile import ABPN, XLSR, has_clip, without_clip
from core.models.official import official_checkpoint
from core.models.rdn import RDN
from core.models.srresnet import SRResNet
from core.models.swinir import SwinIR

ASSETS = Path(__file__).resolve().parents[2] / "assets"

# name -> constructor of the untrained architecture, called with the scale
MODELS: dict[str, Callable[[int], nn.Module]] = {
    "edsr": lambda scale: EDSR(scale, n_blocks=8, n_feats=32, rgb_range=1.0),
    "edsr_baseline": EDSR,
    "edsr_large": lambda scale: EDSR(scale, n_blocks=32, n_feats=256, res_scale=0.1),
    "rdn": lambda scale: RDN(scale, n_blocks=4, n_convs=4, growth=16, n_feats=32, rgb_range=1.0),
    "srresnet": lambda scale: SRResNet(scale, n_blocks=8, n_feats=32, rgb_range=1.0),
    "xlsr": XLSR,
    "abpn": ABPN,
    "swinir_light": SwinIR,
}


def new_model(name: str, scale: int) -> nn.Module:
    """A randomly initialised network; ValueError lists the names that exist."""
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name](scale)


def bundled() -> list[tuple[str, int]]:
    """(name, scale) of every network whose weights lie in assets/, in the order of MODELS."""
    found = [re.fullmatch(r"(\w+)_x(\d)", f.stem) for f in ASSETS.glob("*_x?.safetensors")]
    order = list(MODELS)
    return sorted(((m[1], int(m[2])) for m in found if m), key=lambda key: (order.index(key[0]), key[1]))


def model_card(name: str, scale: int) -> dict:
    """How a bundled network was trained, how it scores, and what is special about it ("about")."""
    return json.loads((ASSETS / f"{name}_x{scale}.json").read_text())


def create_model(name: str, scale: int, weights: str = "bundled") -> nn.Module:
    """A trained network in eval mode: (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W).

    weights: "bundled", or "official" for the EDSR authors' own (`core.models.official`: downloaded once).
    ValueError lists what is there.
    """
    if weights not in ("bundled", "official"):
        raise ValueError(f"weights must be 'bundled' or 'official', got {weights!r}")
    if not isinstance(scale, int):
        raise ValueError(f"scale must be a whole number, got {scale!r}")
    if weights == "official":
        return load_checkpoint(official_checkpoint(name, scale))
    if (name, scale) not in bundled():
        there = ", ".join(f"{n} x{s}" for n, s in bundled()) or "none"
        raise ValueError(f"no bundled weights for {name} x{scale}; there are {there}")
    return load_checkpoint(ASSETS / f"{name}_x{scale}.safetensors")


__all__ = [
    "ABPN",
    "ASSETS",
    "EDSR",
    "MODELS",
    "RDN",
    "RGB_MEAN",
    "XLSR",
    "SRResNet",
    "SwinIR",
    "bundled",
    "create_model",
    "fold_batchnorm",
    "has_clip",
    "load_checkpoint",
    "model_card",
    "network_from_state",
    "new_model",
    "without_clip",
]
