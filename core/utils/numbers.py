"""Checks of numbers that a caller gives."""

from __future__ import annotations

import numpy as np


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Raise ValueError unless the value is a whole number of at least `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
