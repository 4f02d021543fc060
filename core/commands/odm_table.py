"""Compare runs of quantization-aware training: the mean over seeds of the scores on their cards.

python -m core odm-table runs/odm/*.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from core.utils.text_table import text_table


def table(cards: Sequence[dict]) -> str:
    """Return one line a configuration: PSNR in dB on every set, mean and deviation over its seeds.

    cards: of finished runs, as `python -m core odm` writes them. Runs that differ in more than the seed are
    on different lines.
    """
    groups: dict[tuple, list[dict]] = {}
    for card in cards:
        network = card.get("checkpoint", card["model"])  # a path: files in different folders share a name
        key = (network, card["scale"], card["label"], card["steps"], card["patch"], card["lambda_m"])
        groups.setdefault(key, []).append(card)
    sets = list(dict.fromkeys(name for card in cards for name in card["scores"]))
    lines = [["network", "run", "steps", "patch", "lambda", "seeds", *sets]]
    for (model, scale, label, steps, patch, weight), runs in groups.items():
        line = [f"{model} x{scale}", label, str(steps), str(patch), f"{weight:g}", str(len(runs))]
        for name in sets:
            line.append(_mean([run["scores"][name]["psnr_y"] for run in runs if name in run["scores"]]))
        lines.append(line)
    return text_table(lines)


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command `python -m core odm-table`."""
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
