"""Bits by layer as a short text that a link can hold.

The bits of all layers' weights, a dash, and those of their activations, one digit a layer; f is float.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.ptq.config import FLOAT

TEXT = r"\A(?:[2-8f]{1,2000}-[2-8]{1,2000})?\Z"
LARGEST = 8
Bits = tuple[int, int]  # of weights and of activations


def written(bits: Mapping[str, Bits], layers: Sequence[str], same: Bits) -> str:
    """Write the bits of every layer, `same` for those without own ones; "" where all layers have these.

    >>> written({"conv1": (4, 8), "conv2": (2, 4)}, ["conv1", "conv2", "conv3"], (4, 4))
    '424-844'
    """
    rows = [bits.get(layer, same) for layer in layers]
    if set(rows) == {same}:
        return ""
    return "-".join("".join("f" if row[side] == FLOAT else str(row[side]) for row in rows) for side in (0, 1))


def read(text: str, layers: Sequence[str]) -> dict[str, Bits]:
    """Read what `written` wrote; {} where it is "" or of another number of layers.

    >>> read("42-84", ["conv1", "conv2"])
    {'conv1': (4, 8), 'conv2': (2, 4)}
    """
    weights, _, activations = text.partition("-")
    if not len(weights) == len(activations) == len(layers):
        return {}
    sides = [[FLOAT if digit == "f" else int(digit) for digit in side] for side in (weights, activations)]
    return dict(zip(layers, zip(*sides, strict=True), strict=True))
