"""The part of an image that is super-resolved."""

from __future__ import annotations

from typing import NamedTuple

CENTRE, ELSEWHERE, WHOLE = "centre", "elsewhere", "whole"
PLACE = r"(\d{1,3}|1000),(\d{1,3}|1000)"  # middle of a region, in thousandths of the width and height
REGION = rf"\A({CENTRE}|{WHOLE}|{PLACE})\Z"
SIDE = 128  # LR pixels of a region


class Window(NamedTuple):
    """A rectangle in LR pixels."""

    top: int
    left: int
    height: int
    width: int


class Region(NamedTuple):
    """A region: CENTRE, WHOLE, or ELSEWHERE around x, y in thousandths of the width and height."""

    kind: str = CENTRE
    x: int = 500
    y: int = 500

    @classmethod
    def parse(cls, text: str) -> Region:
        """Read a region as links write it: "centre", "whole" or "x,y"."""
        return cls(text) if text in (CENTRE, WHOLE) else cls(ELSEWHERE, *map(int, text.split(",")))

    def __str__(self) -> str:
        return f"{self.x},{self.y}" if self.kind == ELSEWHERE else self.kind

    def describe(self) -> str:
        """Describe in words where the region is."""
        if self.kind != ELSEWHERE:
            return self.kind
        return f"{SIDE}×{SIDE} LR around {self.x / 10:g} % from the left, {self.y / 10:g} % from the top"

    def window(self, height: int, width: int) -> Window:
        """Find the region in an LR image of that size."""
        if self.kind == WHOLE:
            return Window(0, 0, height, width)
        rows, columns = min(SIDE, height), min(SIDE, width)
        if self.kind == CENTRE:
            return Window((height - rows) // 2, (width - columns) // 2, rows, columns)
        top = round(self.y / 1000 * height) - rows // 2
        left = round(self.x / 1000 * width) - columns // 2
        return Window(min(max(top, 0), height - rows), min(max(left, 0), width - columns), rows, columns)
