"""The names of the pictures."""

from __future__ import annotations

from explorer.choices.catalog import without_truth
from explorer.choices.state import HAND, ExplorerState

TITLES = {"hr": "HR, ground truth", "bicubic": "Bicubic", "float": "Float SR"}


def references(image: str, *asked: str) -> list[str]:
    """Return the keys of `asked` that exist for the image: "hr" only with ground truth."""
    return [key for key in asked if key != "hr" or not without_truth(image)]


def weights_and_activations(weight_bits: int, activation_bits: int) -> str:
    """Write the bits: W4A8 for weights of 4 bits and activations of 8."""
    return f"W{weight_bits}A{activation_bits}"


def titles(state: ExplorerState) -> dict[str | int, str]:
    """Name the pictures of the tab Explore: by word, or the bits of a quantized one."""
    sides = [key for key in map(state.picture_key, ("left", "right")) if isinstance(key, int)]
    bits = (*state.shown_bits(), *sides)
    names = TITLES | {b: weights_and_activations(state.weight_bits or b, b) for b in bits}
    if state.bits_by_layer():
        names[state.activation_bits] = f"{names[state.activation_bits]}, by layer"
    return names | {HAND: f"By hand, {names[state.activation_bits]}"}
