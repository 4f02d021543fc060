"""What the pictures and numbers on the page stand for."""

from __future__ import annotations

from core.methods import EVERY_METHOD, TRAINED
from core.models import new_model
from explorer import pipeline
from explorer.state import NETWORKS, ExplorerState

WEIGHT_RULES = {"minmax": "min–max", "mse": "range of least squared error", "2dquant": "bound search"}


def protocol(state: ExplorerState) -> str:
    """Of the tab Explore, in one paragraph."""
    name, scale = NETWORKS[state.network]
    scope = new_model(name, scale).scope_in_words
    ranges = _trained() if state.method in TRAINED else _calibrated(state, scale)
    return (
        f"Quantized: {scope}; everything else stays float. {ranges} PSNR and SSIM: luma, {scale} pixels of "
        f"border cropped, 8 bits; LR is the bicubic reduction of the photograph.{_dynamic(state)}"
    )


def _trained() -> str:
    return (
        "Ranges and weights: learned in training, one range of the activations and one of the weights a "
        "layer; the tab Training has the record."
    )


def _calibrated(state: ExplorerState, scale: int) -> str:
    size = pipeline.PATCH_SIZE[scale]
    method = EVERY_METHOD[state.method]
    weights = f"{WEIGHT_RULES[method.weights]} per output channel"
    if method.refine:
        weights += ", rounded so that errors make up for each other, biases corrected"
    return (
        f"Calibration: {pipeline.PATCHES} random {size}×{size} LR patches of the packaged photographs, the "
        f"one shown among them. Weights: {weights}."
    )


def _dynamic(state: ExplorerState) -> str:
    method = EVERY_METHOD[state.method]
    if not method.dynamic:
        return ""
    of = f"each block of about {method.block}×{method.block} pixels" if method.block else "the image it sees"
    return (
        f" {state.method} normalizes by the statistics of {of}, so a region quantized alone is not a crop of "
        "the whole image quantized."
    )
