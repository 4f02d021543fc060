"""The methods compared under one protocol.

    python -m core.report --model edsr --scale 2 --images Set5/x2 --calibration PHOTOS

Without --images and --calibration, on the photographs that scikit-image and scikit-learn package.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from core.calibration import PATCH_SIZE, PATCHES, calibration_patches
from core.config import QuantConfig
from core.evaluation import Evaluation, evaluate
from core.images import Pair, demo_image, demo_names, make_lr, paired_folder
from core.models import create_model
from core.quantize import calibrate, quantize_model
from core.training import load_folder

# DFSQ as its authors have it, its exact optimum, and the baselines.
VARIANTS = {
    "dfsq (k-means, as published)": {"method": "dfsq", "selector": "kmeans"},
    "dfsq (exact points)": {"method": "dfsq", "selector": "exact"},
    "percentile": {"method": "percentile"},
    "minmax": {"method": "minmax"},
}


def compare(
    model: nn.Module, scale: int, pairs: Sequence[Pair], calibration: torch.Tensor, bits: Sequence[int]
) -> tuple[Evaluation, dict[tuple[str, int], Evaluation]]:
    """The float network's scores, and those of every variant at W`b`A`b` for b in `bits`."""
    scores = {}
    with tqdm(total=len(VARIANTS) * len(bits) + 1, leave=False) as bar:
        reference = evaluate(model, pairs, scale)
        bar.update()
        for name, choice in VARIANTS.items():
            observed = calibrate(model, calibration, QuantConfig(**choice))
            for b in bits:
                config = QuantConfig(activation_bits=b, weight_bits=b, **choice)
                scores[name, b] = evaluate(quantize_model(model, observed, config), pairs, scale)
                bar.update()
    return reference, scores


def table(reference: Evaluation, scores: dict[tuple[str, int], Evaluation]) -> str:
    """PSNR (dB) / SSIM and, in brackets, the dB lost against the float network."""
    bits = sorted({b for _, b in scores}, reverse=True)
    lines = [["", *(f"W{b}A{b}" for b in bits)]]
    lines.append(["float", *[f"{reference.psnr:.2f} / {reference.ssim:.4f}        "] * len(bits)])
    for name in dict.fromkeys(name for name, _ in scores):
        cells = [scores[name, b] for b in bits]
        row = [f"{c.psnr:.2f} / {c.ssim:.4f} ({c.psnr - reference.psnr:+.2f})" for c in cells]
        lines.append([name, *row])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m core.report", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="edsr")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--images", type=Path, help="folder with HR/ and LR/ to score on")
    parser.add_argument("--calibration", type=Path, help="folder of HR images to calibrate on")
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 6, 4])
    args = parser.parse_args()
    try:
        model = create_model(args.model, args.scale)
        demo = [demo_image(name) for name in demo_names()]
        sources = load_folder(args.calibration) if args.calibration else demo
        size = PATCH_SIZE[args.scale]
        calibration = calibration_patches([make_lr(image, args.scale) for image in sources], PATCHES, size)
        if args.images:
            pairs = list(paired_folder(args.images, args.scale))
        else:
            pairs = [Pair(n, make_lr(hr, args.scale), hr) for n, hr in zip(demo_names(), demo, strict=True)]
        reference, scores = compare(model, args.scale, pairs, calibration, args.bits)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    images = args.images or "packaged photographs"
    print(f"{args.model} x{args.scale} on {images}, {len(pairs)} images: PSNR in dB / SSIM (lost dB)\n")
    print(table(reference, scores))
    print(
        "\nProtocol. Quantized: what the network's class declares (EDSR: both convs of every residual block);"
        "\nthe rest stays float. Weights: uniform, min-max per output channel. Activations: dfsq per image "
        "\nand channel, normalized anew at inference; percentile (0.1/99.9) and minmax static, per tensor."
        f"\nCalibration: {PATCHES} random LR patches of {size}x{size} from "
        f"{args.calibration or 'the packaged photographs'}, seed 0.\nMetric: luma (BT.601), 8-bit rounding, "
        f"{args.scale} pixels of border cropped; LR bicubic as MATLAB's imresize."
    )


if __name__ == "__main__":
    main()
