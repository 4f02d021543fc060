"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

# Called with a description and the fraction done, 0 to 1; it may raise to cancel.
Progress = Callable[[str, float], None]
