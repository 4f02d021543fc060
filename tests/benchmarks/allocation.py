"""What the best bits by layer win at the cost of W4A4, and AdaBM's beside them.

    PYTHONPATH=. python tests/benchmarks/allocation.py --networks edsr --methods mse dfsq+ --draws 3 \\
        --images Set5/x{scale} Set14/x{scale} --validation KODAK --calibration PHOTOS --out runs/allocation

Writes dB of PSNR lost to OUT.csv, a row a network, method, draw of calibration patches, way of choosing bits
and test set, and prints means. Rows that are there already are kept: a stopped run continues where it was.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import nn

import core
from core.analysis.cost import effective_cost
from core.images.folders import load_folder, paired_folder, reduced_pairs
from core.ptq.calibration import PATCHES, patch_size
from core.zoo import bundled

KEY = ["network", "method", "draw"]
SCALES = dict(reversed(bundled()))  # of each network, the smallest one that is bundled


def ways(
    model: nn.Module, patches: torch.Tensor, config: core.QuantConfig
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the quantized networks by the way in which their bits are chosen."""
    calibration = core.calibrate(model, patches, config)
    chosen = {
        "uniform": config,
        "allocated": core.allocate_bits(model, patches, config),
        "AdaBM, by layer": core.adabm_layer_bits(model, patches, config),
    }
    for name, own in chosen.items():
        yield name, core.quantize_model(model, calibration if own is config else patches, own)
    yield "AdaBM, by layer and image", core.adabm(model, patches, config)


def measured(name: str, method: str, draw: int, lr: list[torch.Tensor], sets: dict) -> list[dict]:
    """Return the rows of one network, method and draw."""
    scale = SCALES[name]
    model, rows = core.create_model(name, scale), []
    lost = {which: core.evaluate(model, pairs, scale).psnr for which, pairs in sets.items()}
    patches = core.calibration_patches(lr, PATCHES, patch_size(scale), draw)
    for way, network in ways(model, patches, core.QuantConfig(method, 4, 4)):
        cost = float("nan") if "image" in way else effective_cost(network).bitops / 1e9
        for which, pairs in sets.items():
            drop = lost[which] - core.evaluate(network, pairs, scale).psnr
            key = dict(zip(KEY, (name, method, draw), strict=True))
            rows.append(key | {"way": way, "set": which, "drop": drop, "gbitops": cost})
    return rows


def table(rows: pd.DataFrame) -> str:
    """Write the mean over draws of what each way loses, and its share of what uniform bits lose."""
    means = rows.groupby(["network", "method", "set", "way"], sort=False)["drop"].mean().unstack("way")
    shares = means.div(means["uniform"], axis=0)
    return f"{means.round(3).to_string()}\n\n{shares.round(2).to_string()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["edsr"])
    parser.add_argument("--methods", nargs="+", default=["mse", "dfsq+"])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument(
        "--images", nargs="+", required=True, help="folders with HR/ and LR/; {scale}: the scale"
    )
    parser.add_argument("--validation", type=Path, help="folder of HR images, reduced here")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    file, photographs = args.out.with_suffix(".csv"), load_folder(args.calibration)
    rows = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEY)
    for name in args.networks:
        scale = SCALES[name]
        lr = [core.make_lr(image, scale) for image in photographs]
        folders = [Path(text.format(scale=scale)) for text in args.images]
        sets = {folder.parent.name: list(paired_folder(folder, scale)) for folder in folders}
        if args.validation:
            sets[args.validation.name] = reduced_pairs(args.validation, scale)
        for draw in range(args.draws):
            for method in args.methods:
                if not (rows[KEY] == [name, method, draw]).all(axis=1).any():
                    rows = pd.concat([rows, pd.DataFrame(measured(name, method, draw, lr, sets))])
                    rows.to_csv(file, index=False)
                    print(f"{name}, {method}, draw {draw + 1} of {args.draws}", flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
