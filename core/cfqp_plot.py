"""The experiment's figure: PSNR and time of every variant, one self-contained SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

LABEL, PANEL, GAP, LINE, HEAD = 270, 200, 30, 20, 56  # pixels
STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; }
text { fill: #222; } .title { font-size: 15px; font-weight: 600; } .value { font-size: 11px; fill: #555; }
.rule { stroke: #ddd; } .dot { fill: #0072b2; } .clip { fill: #d55e00; } .float { fill: #888; }
@media (prefers-color-scheme: dark) {
  svg { background: #1b1b1b; } text { fill: #eee; } .value { fill: #bbb; } .rule { stroke: #444; }
}
"""


def figure(found: Sequence[dict]) -> str:
    """One row of panels a network, one line a variant: PSNR on each set, then milliseconds.

    found: the rows of `core.cfqp`. Each panel has its own scale, from its lowest to its highest value.
    """
    names = list(dict.fromkeys(row["model"] for row in found))
    parts, top, width = [], 0, 0
    for name in names:
        own = [row for row in found if row["model"] == name]
        body, height, needed = _network(name, own, top)
        parts += body
        top, width = top + height, max(width, needed)
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{top}'><style>{STYLE}</style>"
    return f"{head}{''.join(parts)}</svg>\n"


def _network(name: str, own: Sequence[dict], top: int) -> tuple[list[str], int, int]:
    """The panels of one network below `top`, their height and their width."""
    variants = list(dict.fromkeys((row["variant"], row["strategy"]) for row in own))
    sets = list(dict.fromkeys(row["set"] for row in own))
    values = {
        f"{images}, PSNR / dB": {_key(r): float(r["psnr"]) for r in own if r["set"] == images}
        for images in sets
    }
    values["time / ms"] = {_key(row): float(row["ms"]) for row in own}
    parts = [f"<text class='title' x='10' y='{top + 22}'>{escape(name)}</text>"]
    for line, (variant, strategy) in enumerate(variants):
        label = f"{variant}: {strategy}".strip(": ")
        parts.append(f"<text x='10' y='{_y(top, line) + 4}'>{escape(label)}</text>")
    for number, (title, cells) in enumerate(values.items()):
        left = LABEL + number * (PANEL + GAP)
        parts.append(f"<text x='{left}' y='{top + 44}'>{escape(title)}</text>")
        low, high = min(cells.values()), max(cells.values())
        for line, key in enumerate(variants):
            y = _y(top, line)
            x = left + (PANEL - 60) * (cells[key] - low) / ((high - low) or 1)
            kind = "float" if key[0] == "float" else "clip" if "with clip" in key[0] else "dot"
            parts.append(f"<line class='rule' x1='{left}' x2='{left + PANEL - 60}' y1='{y}' y2='{y}'/>")
            parts.append(f"<circle class='{kind}' cx='{x:.1f}' cy='{y}' r='4'/>")
            digits = 1 if title.startswith("time") else 3
            parts.append(
                f"<text class='value' x='{left + PANEL - 50}' y='{y + 4}'>{cells[key]:.{digits}f}</text>"
            )
    return parts, HEAD + LINE * len(variants) + GAP, LABEL + len(values) * (PANEL + GAP)


def _key(row: dict) -> tuple[str, str]:
    return row["variant"], row["strategy"]


def _y(top: int, line: int) -> int:
    return top + HEAD + LINE * line + 6
