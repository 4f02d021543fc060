"""Tables as plain text."""

from collections.abc import Sequence


def text_table(lines: Sequence[Sequence[str]]) -> str:
    """Set lines of equally many cells, the first the head, in columns aligned at the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
