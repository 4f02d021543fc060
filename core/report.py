"""Every method under one protocol: one table as CSV and HTML.

    python -m core.report --model edsr --scale 2 --images Set5/x2 Set14/x2 --calibration PHOTOS --out report

--model is a bundled network or a checkpoint's path. Without --images and --calibration, on the photographs
that scikit-image and scikit-learn package. Rows that OUT.csv holds already, for the same network, images and
calibration, are kept: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from core.calibration import PATCH_SIZE, PATCHES, calibration_patches
from core.config import FLOAT, QuantConfig
from core.cost import cost
from core.evaluation import evaluate
from core.images import Pair, demo_image, demo_names, make_lr, paired_folder
from core.methods import METHODS, REFINEMENTS
from core.models import create_model, load_checkpoint
from core.quantize import Calibration, calibrate, quantize_model
from core.report_html import page
from core.training import load_folder

BITS = (8, 6, 4, 3, 2)
# The published method and its exact optimum apart, then every other method.
VARIANTS = {
    "dfsq (k-means, as published)": {"method": "dfsq", "selector": "kmeans"},
    "dfsq (exact points)": {"method": "dfsq"},
} | {name: {"method": name} for name in METHODS if name != "dfsq"}
# dfsq+ built up from dfsq, each step on top of those before.
ABLATION = {
    "dfsq+ ablation: zero pinned": {"weights": "minmax", "refine": ()},
    "dfsq+ ablation: and mse weight ranges": {"refine": ()},
    "dfsq+ ablation: and bias correction": {"refine": ("bias",)},
    "dfsq+ ablation: and compensated rounding": {"refine": ("rounding", "bias")},
    "dfsq+ ablation: and reconstruction (= dfsq+)": {"refine": REFINEMENTS},
    "dfsq+ without bias correction": {"refine": ("reconstruction", "rounding")},
    "dfsq+ with subset weights": {"weights": "subset"},
}
VARIANTS_AND_ABLATION = VARIANTS | {name: {"method": "dfsq+"} | own for name, own in ABLATION.items()}
HR_PIXELS = (720, 1280)  # for BitOPs, the field's usual output size
COLUMNS = (
    "question", "variant", "bits", "set", "psnr", "ssim", "drop", "kib", "gbitops", "simulated", "seconds",
    "scope", "calibration", "metric",
)  # fmt: skip


def rows(
    model: nn.Module,
    scale: int,
    sets: dict[str, Sequence[Pair]],
    calibration: torch.Tensor,
    variants: dict[str, dict],
    bits: Sequence[int],
    texts: dict[str, str],
    done: set[tuple[str, str]] = frozenset(),
) -> Iterator[dict]:
    """One row per variant, bits and set, and the float network first; those in `done` are passed over.

    texts: what stands in "question", "calibration" and "scope" of every row. done: (variant, bits).
    """
    metric = f"luma (BT.601), 8-bit rounding, {scale} pixels of border cropped"
    height, width = (n // scale for n in HR_PIXELS)
    common = texts | {"metric": metric}
    float_psnr = {}
    for name, pairs in sets.items():
        result = evaluate(model, pairs, scale)
        float_psnr[name] = result.psnr
        if ("float", "W32A32") not in done:
            yield common | _row("float", "W32A32", name, result, 0.0, cost(model, height, width), "", 0.0)
    for variant, choice in variants.items():
        observed: Calibration | None = None
        for b in bits:
            if (variant, f"W{b}A{b}") in done:
                continue
            config = QuantConfig(activation_bits=b, weight_bits=b, **choice)
            start = time.perf_counter()
            observed = observed or calibrate(model, calibration, config)
            quantized = quantize_model(model, observed, config)
            seconds = time.perf_counter() - start
            spent = cost(quantized, height, width)
            for name, pairs in sets.items():
                result = evaluate(quantized, pairs, scale)
                drop = float_psnr[name] - result.psnr
                simulated = _simulated(config)
                yield common | _row(variant, f"W{b}A{b}", name, result, drop, spent, simulated, seconds)


def _row(variant, bits, images, result, drop, spent, simulated, seconds) -> dict:
    return {
        "variant": variant,
        "bits": bits,
        "set": images,
        "psnr": round(result.psnr, 4),
        "ssim": round(result.ssim, 5),
        "drop": round(drop, 4),
        "kib": round(spent.bytes / 1024, 1),
        "gbitops": round(spent.bitops / 1e9, 1),
        "simulated": simulated,
        "seconds": round(seconds, 2),
    }


def _simulated(config: QuantConfig) -> str:
    """What of it ordinary integer kernels do not run."""
    parts = []
    if METHODS[config.method].dynamic:
        parts.append("normalization of each input")
    if config.from_subset or config.method in ("log2", "apot"):
        parts.append("activation levels off the uniform grid")
    if config.weight_levels == "subset":
        parts.append("weight levels off the uniform grid")
    if config.activation_bits not in (4, 8, FLOAT):
        parts.append(f"{config.activation_bits} bits")
    return ", ".join(parts)


def digest(model: nn.Module, sets: dict[str, Sequence[Pair]], calibration: torch.Tensor) -> str:
    """Tells runs on other weights, images or calibration apart."""
    seen = hashlib.sha256()
    tensors = [*model.state_dict().values(), calibration]
    tensors += [image for pairs in sets.values() for pair in pairs for image in (pair.lr, pair.hr)]
    for tensor in tensors:
        seen.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()[:12]


def read_rows(path: Path, question: str) -> list[dict]:
    """The finished rows of a CSV that answer this question."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    return [row for row in found if row.get("question") == question]


def write_rows(path: Path, found: list[dict]) -> None:
    """Replace the CSV at once, so that a run stopped at any moment leaves a whole one."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(found)
    os.replace(partial, path)


def table(found: list[dict], images: str) -> str:
    """PSNR (dB) / SSIM of one set and, in brackets, the dB lost against the float network."""
    own = [row for row in found if row["set"] == images]
    bits = list(dict.fromkeys(row["bits"] for row in own if row["variant"] != "float"))
    cells = {(row["variant"], row["bits"]): row for row in own}
    lines = [["", *bits]]
    reference = cells["float", "W32A32"]
    lines.append(["float", *[f"{float(reference['psnr']):.2f} / {float(reference['ssim']):.4f}"] * len(bits)])
    for variant in dict.fromkeys(row["variant"] for row in own if row["variant"] != "float"):
        line = [variant]
        for b in bits:
            row = cells.get((variant, b))
            line.append(
                f"{float(row['psnr']):.2f} / {float(row['ssim']):.4f} ({-float(row['drop']):+.2f})"
                if row
                else ""
            )
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core.report", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="edsr", help="bundled network, or path of a checkpoint")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--images", type=Path, nargs="*", help="folders with HR/ and LR/ to score on")
    parser.add_argument("--calibration", type=Path, help="folder of HR images to calibrate on")
    parser.add_argument("--bits", type=int, nargs="+", default=list(BITS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="only these methods")
    parser.add_argument("--ablation", action="store_true", help="also dfsq+ step by step")
    parser.add_argument("--out", type=Path, help="where the CSV and HTML go, without suffix")
    return parser


def _inputs(args) -> tuple[nn.Module, dict[str, list[Pair]], torch.Tensor]:
    path = Path(args.model)
    model = load_checkpoint(path) if path.suffix else create_model(args.model, args.scale)
    demo = [demo_image(name) for name in demo_names()]
    sources = load_folder(args.calibration) if args.calibration else demo
    lr_images = [make_lr(image, args.scale) for image in sources]
    calibration = calibration_patches(lr_images, PATCHES, PATCH_SIZE[args.scale])
    if args.images:
        sets = {f"{p.parent.name}/{p.name}": list(paired_folder(p, args.scale)) for p in args.images}
    else:
        pairs = [Pair(n, make_lr(hr, args.scale), hr) for n, hr in zip(demo_names(), demo, strict=True)]
        sets = {"packaged photographs": pairs}
    return model, sets, calibration


def main() -> None:
    parser = _arguments()
    args = parser.parse_args()
    try:
        model, sets, calibration = _inputs(args)
        for b in args.bits:
            QuantConfig(activation_bits=b, weight_bits=b)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    chosen = VARIANTS_AND_ABLATION if args.ablation else VARIANTS
    variants = {n: c for n, c in chosen.items() if not args.methods or c["method"] in args.methods}
    size = PATCH_SIZE[args.scale]
    source = args.calibration.name if args.calibration else "the packaged photographs"
    texts = {
        "question": digest(model, sets, calibration),
        "scope": "what the network's class declares, else all convs but the first and last called",
        "calibration": f"{PATCHES} random LR patches of {size}x{size} from {source}, seed 0",
    }
    found = read_rows(args.out.with_suffix(".csv"), texts["question"]) if args.out else []
    per_key = Counter((row["variant"], row["bits"]) for row in found)
    done = {key for key, number in per_key.items() if number == len(sets)}
    found = [row for row in found if (row["variant"], row["bits"]) in done]
    total = 1 + len(variants) * len(args.bits)
    with tqdm(total=total * len(sets), initial=len(found)) as bar:
        for row in rows(model, args.scale, sets, calibration, variants, args.bits, texts, done):
            found.append(row)
            bar.update()
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                write_rows(args.out.with_suffix(".csv"), found)
    title = f"{args.model} ×{args.scale}"
    for name in sets:
        print(f"\n{title} on {name}: PSNR in dB / SSIM (dB lost)\n\n{table(found, name)}")
    print(
        f"\nProtocol. Quantized: {texts['scope']}; the rest stays float. Calibration: {texts['calibration']}."
        f"\nMetric: {found[0]['metric']}; LR bicubic as MATLAB's imresize."
    )
    if args.out:
        args.out.with_suffix(".html").write_text(page(title, found))


if __name__ == "__main__":
    main()
