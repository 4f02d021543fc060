"""Compare every method under one protocol: one table as CSV and HTML.

    python -m core report --model all --images 'Set5/x{scale}' --calibration PHOTOS --out report

Without --images and --calibration, the photographs that scikit-image and scikit-learn package are used. Rows
that OUT.csv already has for the same network, images and calibration are kept: a stopped run continues where
it was.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from core.analysis.comparison import (
    COLUMNS,
    EVERY_VARIANT,
    SHARED_TEXTS,
    VARIANTS,
    Benchmark,
    Improve,
    digest,
    rows,
)
from core.checkpoints.loading import check_res_scale, load_checkpoint
from core.commands.common import add_res_scale, warnings_as_sentences
from core.commands.report_html import page
from core.images import Pair, demo_image, demo_names, make_lr, modcrop
from core.images.folders import load_folder, paired_folder
from core.ptq.calibration import PATCHES, calibration_patches, patch_size
from core.ptq.config import QuantConfig
from core.ptq.methods import EVERY_METHOD
from core.ptq.saving import load_quantized
from core.ptq.scope import scope_of
from core.qat.range_tuning import PATCH, tune_ranges
from core.qat.tuned_ranges import is_tunable
from core.utils.device import add_device, use_device
from core.utils.files import distinct_names, folder_name, output_file, replace_file
from core.utils.text_table import text_table
from core.zoo import bundled, create_model, model_card, trained

BITS = (8, 6, 4, 3, 2)


def read_rows(path: Path, columns: Sequence[str] = COLUMNS, may_lack: Sequence[str] = ()) -> list[dict]:
    """Return the rows of a CSV, "" in columns that it may lack; none if it is missing or has other columns.

    ValueError if it is damaged.
    """
    if not path.exists():
        return []
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged ({reason}); move it away and start again") from error
    rows = rows.assign(**{column: "" for column in may_lack if column not in rows})
    return rows.to_dict("records") if set(rows) == set(columns) else []


def write_rows(path: Path, found: list[dict], columns: Sequence[str] = COLUMNS) -> None:
    """Replace the CSV in one step, so that a run stopped at any moment leaves a complete file."""
    replace_file(path, pd.DataFrame(found, columns=columns, dtype=object).to_csv(index=False).encode())


def table(found: list[dict], images: str) -> str:
    """Return the table of one set: PSNR (dB) / SSIM and, in brackets, the change from the float network."""
    cells, reference = {}, ""
    for row in found:
        if row["set"] == images:
            score = f"{float(row['psnr']):.2f} / {float(row['ssim']):.4f}"
            if row["variant"] == "float":
                reference = score
            else:
                cells[row["variant"], row["bits"]] = f"{score} ({-float(row['drop']):+.2f})"
    variants, bits = ([*dict.fromkeys(cell[i] for cell in cells)] for i in (0, 1))
    lines = [[variant, *(cells.get((variant, b), "") for b in bits)] for variant in variants]
    return text_table([["", *bits], ["float", *[reference] * len(bits)], *lines])


class Network(NamedTuple):
    """A network of the report, with its description."""

    title: str
    model: nn.Module
    scale: int
    about: str
    trained: Sequence[nn.Module] = ()


def networks(names: Sequence[str], scale: int, res_scale: float | None = None) -> list[Network]:
    """Return the networks of these names or checkpoint paths; "all" is every bundled one at its own scale.

    Files of the same name are distinguished by their folders. res_scale: of the checkpoints, as
    `load_checkpoint`.
    """
    if list(names) == ["all"]:
        return [_bundled(*key) for key in bundled()]
    paths = [Path(name) for name in dict.fromkeys(names)]
    files = [path for path in paths if path.suffix]
    titles = dict(zip(files, distinct_names(files, lambda path: path.name), strict=True))
    found = [_from_file(p, titles[p], res_scale) if p in titles else _bundled(str(p), scale) for p in paths]
    return list({network.title: network for network in found}.values())


def _bundled(name: str, scale: int) -> Network:
    model, card = create_model(name, scale), model_card(name, scale)
    about = f"{card['parameters']:,} parameters. {card['about']}"
    known = [create_model(name, scale, weights) for weights in trained(name, scale)]
    return Network(f"{name} x{scale}", model, scale, about, known)


def _from_file(path: Path, title: str, res_scale: float | None) -> Network:
    model = load_checkpoint(path, res_scale)
    parameters = sum(p.numel() for p in model.parameters())
    return Network(title, model, model.scale, f"{parameters:,} parameters.")


def _inputs(args, scale: int) -> tuple[dict[str, list[Pair]], list[torch.Tensor]]:
    """Return the images to score on, and those to calibrate on for each draw."""
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
    parser.add_argument(
        "--scale", type=int, default=2, help="of the bundled networks that are named; by default 2"
    )
    parser.add_argument("--images", nargs="*", help="folders with HR/ and LR/; {scale} stands for the scale")
    parser.add_argument("--calibration", type=Path, help="folder of HR images to calibrate on")
    parser.add_argument("--bits", type=int, nargs="+", default=list(BITS), help="by default all")
    parser.add_argument("--methods", nargs="+", choices=EVERY_METHOD, help="only these methods")
    parser.add_argument("--trained", type=Path, nargs="*", default=[], help="files of core odm, to add")
    parser.add_argument(
        "--ablation", action="store_true", help="also each ingredient, and dfsq+ step by step"
    )
    parser.add_argument(
        "--tune", type=int, default=0, metavar="STEPS", help="also static methods with ranges tuned so long"
    )
    parser.add_argument("--draws", type=int, default=1, help="of calibration patches, each measured")
    add_res_scale(parser)
    add_device(parser)
    parser.add_argument("--out", type=Path, help="where the CSV and HTML go, without their suffixes")
    return parser


def _finished(found: list[dict], question: str, n_sets: int) -> list[dict]:
    """Return the rows of this question that are complete, that is, scored on every set."""
    rows = pd.DataFrame(found, columns=COLUMNS)
    own = rows[rows["question"] == question].drop_duplicates(["variant", "bits", "set"], keep="last")
    number = own.groupby(["variant", "bits"])["set"].transform("size")
    return own[number == n_sets].to_dict("records")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command `python -m core report`."""
    parser = _arguments()
    args = parser.parse_args(argv)
    try:
        check_res_scale(args.res_scale, args.model)
        with warnings_as_sentences(parser.prog):
            _run(args)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def _run(args: argparse.Namespace) -> None:
    device = use_device(args.device)
    chosen = networks(args.model, args.scale, args.res_scale)
    loaded = [load_quantized(path) for path in args.trained]
    inputs = {network.scale: _inputs(args, network.scale) for network in chosen}
    for b in args.bits:
        QuantConfig(activation_bits=b, weight_bits=b)
    for method in args.methods or ():
        _check_bits(method, args.bits)
    if args.draws < 1:
        raise ValueError(f"--draws must be at least 1, got {args.draws}")
    if args.tune < 0:
        raise ValueError(f"--tune must be a number of steps, got {args.tune}")
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
        # Networks quantized in training do not depend on the draw: they are scored once.
        known = [m for m in (*network.trained, *loaded) if draw == 0 and _asked(m.quant_config, args)]
        network.model.to(device)
        known = [model.to(device) for model in known]
        asked = (network.model, Benchmark(sets, calibration, texts), variants, args.bits)
        with tqdm(
            initial=len(own), desc=f"{network.title}, draw {draw + 1} of {args.draws}", unit=" rows"
        ) as bar:
            for row in rows(*asked, done=list(own), trained=known, improve=_tuning(args.tune)):
                found.append(row)
                bar.update()
                if csv_file:
                    write_rows(csv_file, found + _others(before, found))
        asked = (texts["network"], texts["question"])
        _print(network.title, [row for row in found if (row["network"], row["question"]) == asked])
    if html_file:
        replace_file(html_file, page(found, {n.title: n.about for n in chosen}).encode())


def _check_bits(method: str, bits: Sequence[int]) -> None:
    """Raise ValueError for a method that has none of these bits; those that it lacks are left out."""
    refused = []
    for b in bits:
        try:
            QuantConfig(method, b, b)
        except ValueError as error:
            refused.append(error)
    if len(refused) == len(bits):
        raise ValueError(f"--bits: {refused[0]}")


def _tuning(steps: int) -> Improve | None:
    """Return the tuning of ranges in so many steps, None for 0."""
    if not steps:
        return None

    def run(model: nn.Module, quantized: nn.Module, images: torch.Tensor) -> nn.Module:
        return tune_ranges(model, quantized, images, steps, patch=min(PATCH, *images.shape[-2:]))

    return Improve(f"ranges tuned in {steps} steps", is_tunable, run)


def _others(before: list[dict], found: list[dict]) -> list[dict]:
    """Return the earlier rows of networks and draws that are still to come, so that they are not lost."""
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
