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
th, td { padding: 3px 12px 3px 0; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap;
vertical-align: top; }
tbody th, td:last-child { text-align: left; }
tbody th:last-of-type { font-weight: normal; }
td:last-child { white-space: normal; min-width: 16em; font-size: 13px; }
"""
NUMBERS = ["psnr", "ssim", "drop", "weight_bits", "activation_bits", "kib", "gbitops"]


def page(found: Sequence[dict], about: Mapping[str, str]) -> str:
    """Return an HTML page with one table a network, set and number of bits: means over the calibration draws.

    found: the rows of `python -m core report`. about: network -> description.
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
            parts.append(_table(images, group))
    head = f"<!doctype html><meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    return f"{head}{''.join(parts)}\n"


def _table(images: str, found: pd.DataFrame) -> str:
    order = {bits: place for place, bits in enumerate(found["bits"].unique())}
    found = found.sort_values("bits", key=lambda bits: bits.map(order), kind="stable")
    groups = found.groupby(["bits", "variant"], sort=False)
    means, drop = groups[[*NUMBERS, "seconds"]].mean(), groups["drop"]
    columns = {
        "PSNR / dB": means["psnr"].map("{:.2f}".format),
        "SSIM": means["ssim"].map("{:.4f}".format),
        "lost / dB": means["drop"].map("{:.2f}".format),
        "± draws": ((drop.max() - drop.min()) / 2).map("{:.2f}".format).where(groups.size() > 1, ""),
        "bits a weight": means["weight_bits"].map("{:.2f}".format),
        "an activation": means["activation_bits"].map("{:.2f}".format),
        "size / KiB": means["kib"].map("{:.0f}".format),
        "GBitOPs": means["gbitops"].map("{:,.0f}".format),
        "time / s": means["seconds"].map("{:.1f}".format).mask(means["seconds"].isna(), "training"),
        "": groups["dynamic"].first(),
        "simulated only": groups["simulated"].first(),
    }
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(columns).rename_axis([None, None]).to_html(border=0)
    return f"<h3>{escape(images)}</h3><div>{table}</div>"
