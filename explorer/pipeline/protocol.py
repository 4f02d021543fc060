"""The protocol of the pictures and numbers: what is quantized, calibrated and measured, in words."""

from __future__ import annotations

from core.ptq.calibration import PATCHES, patch_size
from core.ptq.methods import BLOCK, TRAINED
from core.ptq.scope import scope_of
from explorer.choices.catalog import calibration_patches, scale_of, without_truth
from explorer.choices.sources import source as thing
from explorer.choices.state import ExplorerState
from explorer.choices.visitor_files import file_name, is_uploaded
from explorer.pipeline import activations, regions

WEIGHT_RULES = {
    "minmax": "min–max with an integer zero point, per output channel",
    "mse": "range of least squared error, per output channel",
    "2dquant": "bound search, per tensor",
    "daq": "in standard deviations, per tensor",
    "apot": "sums of powers of two, per tensor",
    "subset": "points of the universal set, per output channel",
    "mx": "MX blocks of 32 input channels",
    "nvfp4": "NVFP4 blocks of 16 input channels",
}


def protocol(state: ExplorerState) -> str:
    """Write the protocol of the tab Explore in one paragraph."""
    scale = scale_of(state.network)
    scope = scope_of(activations.network(state.network), None)
    ranges = _trained() if state.method in TRAINED else _calibrated(state, scale)
    return (
        f"Quantized: {scope}; everything else stays float. {ranges} PSNR and SSIM: luma, {scale} pixels of "
        f"border cropped, 8 bits{_truth(state)}{_dynamic(state, scale)}"
    )


def _truth(state: ExplorerState) -> str:
    if without_truth(state.image):
        return (
            f", against the float network's SR: {file_name(state.image)} is itself the LR and has "
            f"no ground truth.{_on_white(state.image)}"
        )
    what = file_name(state.image) if is_uploaded(state.image) else "the photograph"
    return f"; LR is the bicubic reduction of {what}.{_on_white(state.image)}"


def _on_white(image: str) -> str:
    put = is_uploaded(image) and thing(image).transparent
    return f" The transparent pixels of {file_name(image)} are put on white." if put else ""


def _trained() -> str:
    return (
        "Ranges and weights: learned in training, with one range of the activations and one of the weights "
        "for each layer; the tab Training has the record."
    )


def _calibrated(state: ExplorerState, scale: int) -> str:
    patches = f"{PATCHES} random {patch_size(scale)}×{patch_size(scale)} LR patches"
    brought = calibration_patches(state.network)
    if state.calibration:
        names = ", ".join(dict.fromkeys(map(file_name, state.calibration)))
        source = f"your own images ({names})"
        shown = "the one shown among them" if state.image in state.calibration else "not the one shown"
    elif brought is not None:
        patches = "{0} LR images of {3}×{2} pixels".format(*brought.shape)
        source, shown = "your own", "that were given with the network"
    else:
        source = "the packaged photographs"
        shown = "yours is not among them" if is_uploaded(state.image) else "the one shown among them"
    recipe = state.recipe()
    weights = WEIGHT_RULES[recipe.weights]
    if recipe.refine:
        weights += ", fitted to the quantized input, rounded so that errors compensate each other"
    points = f" Points: chosen by {recipe.selector}." if recipe.levels == "subset" else ""
    return f"Calibration: {patches} of {source}, {shown}.{points} Weights: {weights}."


def _dynamic(state: ExplorerState, scale: int) -> str:
    recipe = state.recipe()
    if not recipe.dynamic:
        return ""
    by_block = recipe.normalization == "block"
    of = f"each block of about {BLOCK}×{BLOCK} pixels" if by_block else "the image it sees"
    if regions.by_tiles(state.image, scale, state.region):
        side = regions.TILE
        part = "block of a tile" if by_block else "tile"
        return (
            f" Computed in tiles of {side}×{side} LR pixels: {state.method} normalizes by the statistics of "
            f"each {part}, so the picture is not the same as without tiles."
        )
    return (
        f" {state.method} normalizes by the statistics of {of}, so a quantized region is not a crop of the "
        "quantized whole image."
    )
