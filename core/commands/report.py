"""Every method under one protocol: one table as CSV and HTML.

    python -m core report --model all --images 'Set5/x{scale}' --calibration PHOTOS --out report

Without --images and --calibration, on the photographs that scikit-image and scikit-learn package. Rows that
OUT.csv holds already, for the same network, images and calibration, are kept: a run that was stopped goes on
where it was.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from core.analysis.comparison import COLUMNS, EVERY_VARIANT, SHARED_TEXTS, VARIANTS, digest, rows
from core.checkpoints.loading import load_checkpoint
from core.commands.report_html import page
from core.images import Pair, demo_image, demo_names, make_lr, modcrop
from core.images.folders import load_folder, paired_folder
from core.ptq.calibration import PATCHES, calibration_patches, patch_size
from core.ptq.config import QuantConfig
from core.ptq.methods import EVERY_METHOD
from core.ptq.saving import load_quantized
from core.ptq.scope import scope_of
from core.utils.device import add_device, use_device
from core.utils.files import distinct_names, folder_name, output_file, replace_file
from core.zoo import bundled, create_model, model_card, trained

BITS = (8, 6, 4, 3, 2)
KEY = ("variant", "bits", "set")  # of a row, where the question is the same


def read_rows(path: Path, columns: Sequence[str] = COLUMNS, may_lack: Sequence[str] = ()) -> list[dict]:
    """The rows of a CSV, "" for what it may lack; none if it does not exist or has other columns."""
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            rows = [dict.fromkeys(may_lack, "") | row for row in csv.DictReader(file)]
        return [row for row in rows if set(row) == set(columns)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); move it away and start again") from error


def write_rows(path: Path, found: list[dict], columns: Sequence[str] = COLUMNS) -> None:
    """Replace the CSV at once, so that a run stopped at any moment leaves a whole one."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(found)
    replace_file(path, text.getvalue().encode())


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


class Network(NamedTuple):
    """A network of the report, and what is said of it."""

    title: str
    model: nn.Module
    scale: int
    about: str
    trained: Sequence[nn.Module] = ()


def networks(names: Sequence[str], scale: int) -> list[Network]:
    """By name, by a checkpoint's path, or "all" that are bundled, each at its own scale.

    Files of one name are told apart by their folders.
    """
    if list(names) == ["all"]:
        return [_bundled(*key) for key in bundled()]
    paths = [Path(name) for name in dict.fromkeys(names)]
    files = [path for path in paths if path.suffix]
    titles = dict(zip(files, distinct_names(files, lambda path: path.name), strict=True))
    found = [_from_file(p, titles[p]) if p in titles else _bundled(str(p), scale) for p in paths]
    return list({network.title: network for network in found}.values())


def _bundled(name: str, scale: int) -> Network:
    model, card = create_model(name, scale), model_card(name, scale)
    about = f"{card['parameters']:,} parameters. {card['about']}"
    known = [create_model(name, scale, weights) for weights in trained(name, scale)]
    return Network(f"{name} x{scale}", model, scale, about, known)


def _from_file(path: Path, title: str) -> Network:
    model = load_checkpoint(path)
    parameters = sum(p.numel() for p in model.parameters())
    return Network(title, model, model.scale, f"{parameters:,} parameters.")


def _inputs(args, scale: int) -> tuple[dict[str, list[Pair]], list[torch.Tensor]]:
    """The images to score on, and those to calibrate on for each draw."""
    demo = [demo_image(name) for name in demo_names()]
    sources = load_folder(args.calibration) if args.calibration else demo
    lr_images = [make_lr(image, scale) for image in sources]
    calibration = [
        calibration_patches(lr_images, PATCHES, patch_size(scale), seed) for seed in range(args.draws)
    ]
    if args.images:
        folders = [Path(path.replace("{scale}", str(scale))) for path in args.images]
        names = distinct_names(folders, lambda path: f"{path.parent.name}/{path.name}")
        sets = dict(zip(names, folders, strict=True))
        return {name: list(paired_folder(path, scale)) for name, path in sets.items()}, calibration
    pairs = [
        Pair(n, make_lr(hr, scale), modcrop(hr, scale)) for n, hr in zip(demo_names(), demo, strict=True)
    ]
    return {"packaged photographs": pairs}, calibration


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core report", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", nargs="+", default=["edsr"], help="bundled networks, paths of checkpoints, or all"
    )
    parser.add_argument("--scale", type=int, default=2, help="of the bundled networks that are named")
    parser.add_argument("--images", nargs="*", help="folders with HR/ and LR/; {scale} stands for the scale")
    parser.add_argument("--calibration", type=Path, help="folder of HR images to calibrate on")
    parser.add_argument("--bits", type=int, nargs="+", default=list(BITS))
    parser.add_argument("--methods", nargs="+", choices=EVERY_METHOD, help="only these methods")
    parser.add_argument("--trained", type=Path, nargs="*", default=[], help="files of core odm, to add")
    parser.add_argument(
        "--ablation", action="store_true", help="also each ingredient, and dfsq+ step by step"
    )
    parser.add_argument("--draws", type=int, default=1, help="of calibration patches, each measured")
    add_device(parser)
    parser.add_argument("--out", type=Path, help="where the CSV and HTML go, without their suffixes")
    return parser


def _finished(found: list[dict], question: str, n_sets: int) -> list[dict]:
    """The rows that answer this question for every set."""
    own = list({tuple(row[key] for key in KEY): row for row in found if row["question"] == question}.values())
    number = Counter((row["variant"], row["bits"]) for row in own)
    return [row for row in own if number[row["variant"], row["bits"]] == n_sets]


def main(argv: Sequence[str] | None = None) -> None:
    parser = _arguments()
    args = parser.parse_args(argv)
    try:
        _run(args)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def _run(args: argparse.Namespace) -> None:
    device = use_device(args.device)
    chosen = networks(args.model, args.scale)
    more = [load_quantized(path) for path in args.trained]
    inputs = {network.scale: _inputs(args, network.scale) for network in chosen}
    for b in args.bits:
        QuantConfig(activation_bits=b, weight_bits=b)
    if args.draws < 1:
        raise ValueError(f"--draws must be at least 1, got {args.draws}")
    offered = EVERY_VARIANT if args.ablation else VARIANTS
    variants = {n: c for n, c in offered.items() if not args.methods or c["method"] in args.methods}
    source = folder_name(args.calibration) if args.calibration else "the packaged photographs"
    csv_file, html_file = (output_file(args.out, s) if args.out else None for s in (".csv", ".html"))
    before = read_rows(csv_file, may_lack=SHARED_TEXTS) if csv_file else []
    found: list[dict] = []
    for draw, network in itertools.product(range(args.draws), chosen):
        sets, calibrations = inputs[network.scale]
        calibration, size = calibrations[draw], patch_size(network.scale)
        texts = {
            "network": network.title,
            "question": digest(network.model, sets, calibration),
            "draw": draw,
            "scope": scope_of(network.model, None),
            "calibration": f"{PATCHES} random LR patches of {size}x{size} from {source}, seed {draw}",
            "metric": f"luma (BT.601), 8-bit rounding, {network.scale} pixels of border cropped",
        }
        own = _finished(before, texts["question"], len(sets))
        own = [row | texts for row in own]
        found += own
        # Training had no draw: scored once.
        known = [m for m in (*network.trained, *more) if draw == 0 and _asked(m.quant_config, args)]
        network.model.to(device)
        known = [model.to(device) for model in known]
        asked = (network.model, network.scale, sets, calibration, variants, args.bits, texts)
        with tqdm(
            initial=len(own), desc=f"{network.title}, draw {draw + 1} of {args.draws}", unit=" rows"
        ) as bar:
            for row in rows(*asked, done=list(own), trained=known):
                found.append(row)
                bar.update()
                if csv_file:
                    write_rows(csv_file, found + _others(before, found))
        asked = (texts["network"], texts["question"])
        _print(network.title, [row for row in found if (row["network"], row["question"]) == asked])
    if html_file:
        replace_file(html_file, page(found, {n.title: n.about for n in chosen}).encode())


def _others(before: list[dict], found: list[dict]) -> list[dict]:
    """Rows of an earlier run for networks and draws that are still to come, which are not to be lost."""
    questions = {row["question"] for row in found}
    return [row for row in before if row["question"] not in questions]


def _asked(config: QuantConfig, args: argparse.Namespace) -> bool:
    return config.weight_bits in args.bits and (not args.methods or config.method in args.methods)


def _print(title: str, found: list[dict]) -> None:
    for name in dict.fromkeys(row["set"] for row in found):
        print(f"\n{title} on {name}: PSNR in dB / SSIM (dB lost)\n\n{table(found, name)}")
    first = found[0]
    print(
        f"\nProtocol. Quantized: {first['scope']}; the rest stays float. Calibration: {first['calibration']}."
        f"\nMetric: {first['metric']}; LR bicubic as MATLAB's imresize."
    )
