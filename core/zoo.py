"""Trained networks by name: bundled float ones, bundled quantized ones, and the EDSR authors' own."""

from __future__ import annotations

import json
import re
from pathlib import Path

from torch import nn

from core.checkpoints.loading import load_checkpoint
from core.checkpoints.official import official_checkpoint
from core.models import MODELS
from core.ptq.saving import load_quantized

RES_SCALES = {"edsr": 1.0, "edsr_baseline": 1.0, "edsr_large": 0.1}  # which the files do not say
ASSETS = Path(__file__).resolve().parents[1] / "assets"


def bundled() -> list[tuple[str, int]]:
    """(name, scale) of every network whose float weights lie in assets/, in the order of MODELS."""
    found = [re.fullmatch(r"(\w+)_x(\d)", f.stem) for f in ASSETS.glob("*_x?.safetensors")]
    order = list(MODELS)
    return sorted(((m[1], int(m[2])) for m in found if m), key=lambda key: (order.index(key[0]), key[1]))


def trained(name: str, scale: int) -> list[str]:
    """What a bundled network was trained to be besides float, as `weights` of `create_model`: "odm-w2a2"."""
    start = f"{name}_x{scale}_"
    return sorted(file.stem.removeprefix(start) for file in ASSETS.glob(f"{start}*.safetensors"))


def model_card(name: str, scale: int, weights: str = "bundled") -> dict:
    """How a bundled network was trained and how it scores; of a float one what is special about it ("about").

    Of a quantized one also the record of its training (`core.qat.record`). ValueError if it is missing or
    damaged.
    """
    file = _file(name, scale, weights, "json")
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{file} is missing or damaged ({error}); fetch the project's assets anew"
        ) from error


def create_model(name: str, scale: int, weights: str = "bundled") -> nn.Module:
    """A trained network in eval mode: (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W).

    weights: "bundled", one of `trained(name, scale)` for a quantized network, or "official" for the EDSR
    authors' own (`core.checkpoints.official`: downloaded once). ValueError lists what is there.
    """
    if not isinstance(scale, int):
        raise ValueError(f"scale must be a whole number, got {scale!r}")
    if weights == "official":
        return load_checkpoint(official_checkpoint(name, scale), RES_SCALES[name])
    if (name, scale) not in bundled():
        there = ", ".join(f"{n} x{s}" for n, s in bundled()) or "none"
        raise ValueError(
            f"no bundled weights for {name} x{scale}; there are {there}; give others as a checkpoint's file"
        )
    if weights not in ("bundled", *trained(name, scale)):
        known = ", ".join(map(repr, ("bundled", "official", *trained(name, scale))))
        raise ValueError(f"weights of {name} x{scale} must be one of {known}, got {weights!r}")
    file = _file(name, scale, weights, "safetensors")
    return load_checkpoint(file, RES_SCALES.get(name)) if weights == "bundled" else load_quantized(file)


def _file(name: str, scale: int, weights: str, suffix: str) -> Path:
    what = "" if weights == "bundled" else f"_{weights}"
    return ASSETS / f"{name}_x{scale}{what}.{suffix}"
