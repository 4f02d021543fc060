"""The report as one self-contained HTML file."""

from __future__ import annotations

from html import escape

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
HEAD = ("method", "PSNR / dB", "SSIM", "lost / dB", "size / KiB", "GBitOPs", "time / s", "simulated only")


def page(found: list[dict], about: dict[str, str]) -> str:
    """One table a network, set and number of bits.

    found: the rows of `core.report`. about: network -> what is said of it.
    """
    title = f"Quantization methods under one protocol: {', '.join(about)}"
    parts = [
        f"<h1>{escape(title)}</h1><p>Metric: {escape(found[0]['metric'])}; LR is bicubic as MATLAB's "
        "imresize. Size: weights at their bits, two floats a row, codebooks as indices, the rest float. "
        "BitOPs: of one 1280×720 output. Time: calibration once a method, the rest at every number of bits. "
        "No published figure has these networks and this protocol, so none stands beside these.</p>"
    ]
    for network, text in about.items():
        own = [row for row in found if row["network"] == network]
        parts.append(
            f"<h2>{escape(network)}</h2><p>{escape(text)} Quantized: {escape(own[0]['scope'])}; the rest "
            f"stays float. Calibration: {escape(own[0]['calibration'])}.</p>"
        )
        for images in dict.fromkeys(row["set"] for row in own):
            parts += _table(images, [row for row in own if row["set"] == images])
    head = f"<!doctype html><meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    return f"{head}{''.join(parts)}\n"


def _table(images: str, found: list[dict]) -> list[str]:
    head = "".join(f"<th>{h}</th>" for h in HEAD)
    parts = [f"<h3>{escape(images)}</h3><div><table><tr>{head}</tr>"]
    for bits in dict.fromkeys(row["bits"] for row in found):
        parts.append(f"<tr class='bits'><td colspan='{len(HEAD)}'><b>{escape(bits)}</b></td></tr>")
        parts += [_line(row) for row in found if row["bits"] == bits]
    return [*parts, "</table></div>"]


def _line(row: dict) -> str:
    cells = (
        escape(row["variant"]),
        f"{float(row['psnr']):.2f}",
        f"{float(row['ssim']):.4f}",
        f"{float(row['drop']):.2f}",
        f"{float(row['kib']):.0f}",
        f"{float(row['gbitops']):,.0f}",
        f"{float(row['seconds']):.1f}" if row["seconds"] != "" else "training",
    )
    return (
        f"<tr>{''.join(f'<td>{c}</td>' for c in cells)}<td class='text'>{escape(row['simulated'])}</td></tr>"
    )
