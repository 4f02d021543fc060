"""The time from a move of a widget to its callbacks."""

from panel.reactive import Syncable


def answer_soon() -> None:
    """Wait 5 instead of 50 milliseconds from a move to its callbacks: what they start is cancelled anyway."""
    Syncable._debounce = 5
