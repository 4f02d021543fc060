"""How pictures are called."""

from __future__ import annotations

from explorer.choices.catalog import without_truth

TITLES = {"hr": "HR, ground truth", "bicubic": "Bicubic", "float": "Float SR"}


def references(image: str, *asked: str) -> list[str]:
    """Those of the asked pictures, besides the quantized ones, that there are of the image."""
    return [key for key in asked if key != "hr" or not without_truth(image)]


def weights_and_activations(weight_bits: int, activation_bits: int) -> str:
    """W4A8 for weights of 4 bits and activations of 8."""
    return f"W{weight_bits}A{activation_bits}"
