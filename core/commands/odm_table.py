"""Runs of quantization-aware training side by side: the mean over seeds of what their cards say.

python -m core odm-table runs/odm/*.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path


def table(cards: Sequence[dict]) -> str:
    """One line a configuration: PSNR in dB on every set, the mean over its seeds and their deviation.

    cards: as `core odm` writes them, of finished runs; runs that differ in more than the seed are kept
    apart.
    """
    groups: dict[tuple, list[dict]] = {}
    for card in cards:
        network = card.get("checkpoint", card["model"])  # files of one name lie in several folders
        key = (network, card["scale"], card["label"], card["steps"], card["patch"], card["lambda_m"])
        groups.setdefault(key, []).append(card)
    sets = list(dict.fromkeys(name for card in cards for name in card["scores"]))
    lines = [["network", "run", "steps", "patch", "lambda", "seeds", *sets]]
    for (model, scale, label, steps, patch, weight), runs in groups.items():
        line = [f"{model} x{scale}", label, str(steps), str(patch), f"{weight:g}", str(len(runs))]
        for name in sets:
            line.append(_mean([run["scores"][name]["psnr_y"] for run in runs if name in run["scores"]]))
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m core odm-table", description=__doc__.splitlines()[0])
    parser.add_argument("cards", type=Path, nargs="+", help=".json files of core odm")
    try:
        cards = [json.loads(path.read_text()) for path in parser.parse_args(argv).cards]
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: no readable card of core odm among these ({error})\n")
    over = [card for card in cards if "scores" in card]
    if len(over) < len(cards):
        print(f"{len(cards) - len(over)} runs are not over and left out")
    if over:
        print(table(over))
