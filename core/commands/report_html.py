"""The report as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; }
td.text { white-space: normal; min-width: 16em; font-size: 13px; }
tr.bits td { border-top: 2px solid #8888; }
"""
HEAD = (
    "method", "PSNR / dB", "SSIM", "lost / dB", "± draws", "bits a weight", "an activation", "size / KiB",
    "GBitOPs", "time / s", "", "simulated only",
)  # fmt: skip
NUMBERS = ["psnr", "ssim", "drop", "weight_bits", "activation_bits", "kib", "gbitops"]


def page(found: Sequence[dict], about: Mapping[str, str]) -> str:
    """Return one table a network, set and number of bits: means over the draws of calibration patches.

    found: the rows of `core report`. about: network -> what is said of it.
    """
    title = f"Quantization methods under one protocol: {', '.join(about)}"
    parts = [
        f"<h1>{escape(title)}</h1><p>Metric: {escape(found[0]['metric'])}; LR is bicubic as MATLAB's "
        "imresize. Bits a weight and an activation: codes with their side information. Size: weights with "
        "theirs, codebooks as indices, the rest float. BitOPs: of one 1280×720 output. Time: calibration and "
        "quantization. ±: half the range over the draws of calibration patches.</p>"
    ]
    rows = pd.DataFrame(found)
    rows[NUMBERS] = rows[NUMBERS].astype(float)
    rows["seconds"] = pd.to_numeric(rows["seconds"], errors="coerce")
    for network, text in about.items():
        own = rows[rows["network"] == network]
        first = own.iloc[0]
        parts.append(
            f"<h2>{escape(network)}</h2><p>{escape(text)} Quantized: {escape(first['scope'])}; the rest "
            f"stays float. Calibration: {escape(first['calibration'])}.</p>"
        )
        for images, group in own.groupby("set", sort=False):
            parts += _table(images, group)
    head = f"<!doctype html><meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    return f"{head}{''.join(parts)}\n"


def _table(images: str, found: pd.DataFrame) -> list[str]:
    head = "".join(f"<th>{h}</th>" for h in HEAD)
    parts = [f"<h3>{escape(images)}</h3><div><table><tr>{head}</tr>"]
    for bits, own in found.groupby("bits", sort=False):
        parts.append(f"<tr class='bits'><td colspan='{len(HEAD)}'><b>{escape(bits)}</b></td></tr>")
        parts += [_line(variant, rows) for variant, rows in own.groupby("variant", sort=False)]
    return [*parts, "</table></div>"]


def _line(variant: str, rows: pd.DataFrame) -> str:
    mean, spread = rows[NUMBERS].mean(), (rows["drop"].max() - rows["drop"].min()) / 2
    seconds = rows["seconds"].mean()
    cells = (
        escape(variant),
        f"{mean['psnr']:.2f}",
        f"{mean['ssim']:.4f}",
        f"{mean['drop']:.2f}",
        f"{spread:.2f}" if len(rows) > 1 else "",
        f"{mean['weight_bits']:.2f}",
        f"{mean['activation_bits']:.2f}",
        f"{mean['kib']:.0f}",
        f"{mean['gbitops']:,.0f}",
        "training" if pd.isna(seconds) else f"{seconds:.1f}",
        escape(str(rows["dynamic"].iloc[0])),
    )
    simulated = escape(str(rows["simulated"].iloc[0]))
    return f"<tr>{''.join(f'<td>{c}</td>' for c in cells)}<td class='text'>{simulated}</td></tr>"
