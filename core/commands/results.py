"""The measured tables: from the rows of `core report` to Markdown, and the rows that are bundled.

    python -m core results runs/results.csv

writes assets/RESULTS.md and assets/results.csv, which `core.measured` reads.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from core.analysis.comparison import ABLATION, COLUMNS, INGREDIENT_TABLE, INGREDIENTS, SHARED_TEXTS
from core.commands.published import PUBLISHED, SETS
from core.measured import loss, over_draws
from core.ptq.methods import EVERY_METHOD
from core.utils.files import replace_file
from core.zoo import ASSETS

# Texts that every row of a network and draw shares are left out; `core report` fills them in.
KEPT = [column for column in COLUMNS if column not in SHARED_TEXTS]
MARK = "<!-- Above: written by core results. Below: by hand. -->"
BITS = ("W8A8", "W6A6", "W4A4", "W3A3", "W2A2")


def markdown(rows: pd.DataFrame) -> str:
    """Return all tables, with their protocol."""
    found = over_draws(rows)
    networks = list(dict.fromkeys(found["network"]))
    parts = [HEAD.format(sets=" and ".join(dict.fromkeys(s.split("/")[0] for s in found["set"])))]
    parts += [_of_network(found, network) for network in networks]
    parts += [_ratios(found, networks), _ingredients(found, networks), _ablation(found, networks)]
    return "\n".join([*parts, _published()])


HEAD = """# Results

Measured by `python -m core report --model all --ablation --draws 3` on {sets}, and written here by
`python -m core results`. Numbers are dB of PSNR lost against the float network, the mean over draws of the
calibration patches, as many as each network says; ± is half their range, on the set where it is larger.
Differences within it are noise; between single draws they reach 0.05 dB and more at 2 bits.

Protocol: luma PSNR (BT.601, 8-bit rounding), as many pixels of border cropped as the scale; LR by MATLAB's
bicubic; 32 random LR patches calibrate. Quantized is what the method's paper quantizes: both convs of every
residual block (EDSR, SRResNet), the convs of the dense blocks and their fusions (RDN), every conv (XLSR,
ABPN). W/A are effective bits at W4A4: codes and side information, a value, for an output of 1280×720.
Dynamic methods take statistics of every input; ordinary integer kernels do not run them.
"""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines)) + "\n"


def _cell(own: pd.DataFrame) -> str:
    if own.empty:
        return "–"
    numbers = " / ".join(map(_decibel, own["lost"]))
    several = own["draws"].max() > 1
    return numbers + (f" ±{own['spread'].max():.2f}" if several else "")


def _decibel(value: float) -> str:
    """Two digits, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def _of_network(found: pd.DataFrame, network: str) -> str:
    own = found[found["network"] == network]
    sets = list(dict.fromkeys(own["set"]))
    floats = own[own["variant"] == "float"].set_index("set")["psnr"]
    said = ", ".join(f"{name.split('/')[0]} {floats[name]:.2f} dB" for name in sets)
    bits = [b for b in BITS if (own["bits"] == b).any()]
    kinds = [v for v in dict.fromkeys(own["variant"]) if v not in (*INGREDIENTS, *ABLATION, "float")]
    kinds.sort(key=lambda name: list(EVERY_METHOD).index(name.split(",")[0]))
    lines = []
    for variant in kinds:
        rows = own[own["variant"] == variant]
        four = rows[rows["bits"] == "W4A4"] if (rows["bits"] == "W4A4").any() else rows
        effective = f"{four['weight_bits'].mean():.2f} / {four['activation_bits'].mean():.2f}"
        cells = [_cell(rows[rows["bits"] == b]) for b in bits]
        lines.append([f"`{variant}`", rows["dynamic"].iloc[0], effective, *cells])
    names = " / ".join(name.split("/")[0] for name in sets)
    draws = own.loc[own["variant"] == "float", "draws"].max()
    number = f"{draws} draws" if draws > 1 else "one draw"
    return f"\n## {network}\n\nFloat: {said}. Lost on {names}, {number}:\n\n" + _table(
        ["", "", "effective W / A", *bits], lines
    )


def _ratios(found: pd.DataFrame, networks: Sequence[str]) -> str:
    """What dfsq+ loses of what published DFSQ loses."""
    lines = []
    for network in networks:
        cells = []
        for bits in BITS:
            ours, theirs = (loss(found, network, name, bits) for name in ("dfsq+", "dfsq"))
            known = ours is not None and theirs is not None
            share = f" ({100 * ours / theirs:.0f} %)" if known and theirs >= 0.05 else ""
            cells.append(f"{_decibel(theirs)} → {_decibel(ours)}{share}" if known else "–")
        lines.append([network, *cells])
    return (
        "\n## `dfsq+` beside DFSQ as published\n\nThe mean of all sets, DFSQ → `dfsq+`, and the share of the "
        "loss that is left where DFSQ loses 0.05 dB or more. Both cost the same at inference.\n\n"
        + _table(["", *BITS], lines)
    )


def _ingredients(found: pd.DataFrame, networks: Sequence[str]) -> str:
    parts = [
        "\n## What is each ingredient worth?\n\nLost with points of the universal set → with uniform levels, "
        "the weights of `dfsq+` for all, the mean of all sets. A constant normalization costs nothing; that "
        "of each channel and image two numbers a channel; that of blocks half a bit a value.\n"
    ]
    for bits in ("W4A4", "W2A2"):
        lines = []
        for name, variants in INGREDIENT_TABLE.items():
            cells = []
            for network in networks:
                pair = [loss(found, network, variant, bits) for variant in variants]
                cells.append("–" if None in pair else " → ".join(map(_decibel, pair)))
            lines.append([name, *cells])
        parts.append(f"{bits}:\n\n" + _table(["", *networks], lines))
    return "\n".join(parts)


def _ablation(found: pd.DataFrame, networks: Sequence[str]) -> str:
    steps = ["dfsq", *ABLATION, *(name for name in INGREDIENTS if "," in name and "per " not in name)]
    lines = []
    for step in steps:
        cells = []
        for network in networks:
            pair = [loss(found, network, step, bits) for bits in ("W4A4", "W2A2")]
            cells.append("–" if None in pair else ", ".join(map(_decibel, pair)))
        lines.append([step, *cells])
    return "\n## `dfsq+` step by step\n\nLost at W4A4, W2A2, the mean of all sets.\n\n" + _table(
        ["", *networks], lines
    )


def _published() -> str:
    lines = [
        [p.network, p.method, str(p.bits), *("–" if x is None else f"{x:.2f}" for x in p.psnr), p.source]
        for p in PUBLISHED
    ]
    return (
        "\n## Published figures\n\nPSNR in dB as their papers give it, for comparison alone: networks, scope "
        "of the quantized layers, training and details of the metric differ, and from ours too.\n\n"
        + _table(["network", "method", "bits", *SETS, "source"], lines)
    )


def with_tables(page: str, tables: str) -> str:
    """Return the page with its tables replaced, which stand above MARK; what is below it stays."""
    _, mark, rest = page.partition(MARK)
    return f"{tables}\n{mark}{rest}" if mark else tables


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m core results", description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path, help="the rows that core report wrote")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder of RESULTS.md and results.csv")
    args = parser.parse_args(argv)
    try:
        rows = pd.read_csv(args.csv, dtype={"dynamic": str}, keep_default_na=False)
        kept = rows[KEPT]
    except (OSError, ValueError, KeyError) as error:
        parser.exit(2, f"{parser.prog}: {args.csv} holds no rows of core report ({error})\n")
    replace_file(args.out / "results.csv", kept.to_csv(index=False).encode())
    path = args.out / "RESULTS.md"
    replace_file(path, with_tables(path.read_text() if path.exists() else "", markdown(kept)).encode())
