"""Numbers as texts on the page."""

from __future__ import annotations

import math

from core.networks.tiles import Difference
from explorer.pipeline.pictures import TRUTH


def decibel(value: float | None) -> str:
    """31.25 dB; ∞ for identical pictures."""
    if value is None:
        return "–"
    return "∞" if math.isinf(value) else f"{value:.2f} dB"


def against(truth: str) -> str:
    """What a score is against, where that is not the ground truth."""
    return "" if truth == TRUTH else f" against {truth}"


def of_tiles(difference: Difference | None) -> str:
    """How far a picture made by tiles is from that of the whole; empty where that is not to be seen."""
    if difference is None:
        return ""
    return f"made by tiles: {difference.decibels:.0f} dB from the whole, up to {difference.levels:.1f} levels"


def scientific(value: float) -> str:
    """Three significant digits: 1.23e-4 as 1.23·10⁻⁴."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    exponent = math.floor(math.log10(abs(value)))
    if -3 < exponent < 4:
        return f"{value:.3g}"
    return f"{value / 10**exponent:.2f}·10{superscript(exponent)}"


def superscript(number: int) -> str:
    """-4 as ⁻⁴."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
