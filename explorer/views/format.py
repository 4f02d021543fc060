"""The format of numbers on the page."""

from __future__ import annotations

import math

from core.networks.tiles import Difference
from explorer.pipeline.pictures import TRUTH


def decibel(value: float | None) -> str:
    """Format a PSNR: 31.25 dB; ∞ for identical pictures."""
    if value is None:
        return "–"
    return "∞" if math.isinf(value) else f"{value:.2f} dB"


def change(value: float | None, best: float | None) -> str:
    """Format the difference of two PSNR with its sign: −0.28 dB; empty where there is none to give."""
    if value is None or best is None or not (math.isfinite(value) and math.isfinite(best)):
        return ""
    return f"{value - best:+.2f} dB".replace("-", "−")


def against(truth: str) -> str:
    """Say what a score is against, where that is not the ground truth."""
    return "" if truth == TRUTH else f" against {truth}"


def of_tiles(difference: Difference | None) -> str:
    """Say how far a picture made in tiles is from that of the whole; empty where nobody can see it."""
    if difference is None:
        return ""
    return f"made in tiles: {difference.decibels:.0f} dB from the whole, up to {difference.levels:.1f} levels"


def scientific(value: float) -> str:
    """Format with three significant digits: 1.23e-4 as 1.23·10⁻⁴."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    exponent = math.floor(math.log10(abs(value)))
    if -3 < exponent < 4:
        return f"{value:.3g}"
    return f"{value / 10**exponent:.2f}·10{superscript(exponent)}"


def superscript(number: int) -> str:
    """Write a number as an exponent: -4 as ⁻⁴."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
