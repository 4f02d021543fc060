"""Measure what a clip costs in INT8, and which representative images make it unnecessary.

    python -m core cfqp --models xlsr abpn --scale 3 --calibration PHOTOS --validation KODAK \\
        --images Set5/x3 Set14/x3 --out runs/cfqp

Each network runs in float, in INT8 with its clip, and in INT8 without it after each strategy of
`core.deploy.representative`, with ONNX Runtime. Where LiteRT is installed, it also runs there: in float,
clip-free, and with the clip in each form that a phone's file may hold. --engines limits it to one of them.
--models are bundled networks or checkpoints' paths. The strategy is chosen on --validation alone. Writes
OUT.csv and the engines' files beside it. Rows that OUT.csv already has for the same network and images are
kept: a stopped run continues where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from core.analysis.comparison import digest
from core.analysis.evaluation import evaluate, super_resolve
from core.checkpoints.loading import load_checkpoint
from core.commands.cfqp_summary import summary
from core.commands.cfqp_variants import (
    CLIP,
    FLOAT,
    PHONE,
    PHONE_BEHIND,
    PHONE_CLIPS,
    PHONE_FLOAT,
    PHONE_FREE,
    PHONE_VARIANTS,
    UNFOLDED,
    VARIANTS,
)
from core.commands.report import read_rows, write_rows
from core.deploy import (
    LitertNetwork,
    OnnxNetwork,
    audit_litert,
    export_litert,
    export_onnx,
    quantize_int8,
    quantize_litert,
    time_in_turns,
)
from core.deploy.litert_files import PACKAGES, is_installed
from core.deploy.representative import NUMBER, TILE, representative_images, tiles
from core.images import Pair, make_lr
from core.images.folders import load_folder, paired_folder, reduced_pairs
from core.images.metrics import colour_shift
from core.models import without_clip
from core.utils.files import distinct_names, output_file
from core.zoo import create_model

ENGINES = ("onnx", "litert")
REGION, MOST_REGIONS = 64, 200  # the regions of the images that LiteRT's files are calibrated on
COLUMNS = (
    "model", "variant", "strategy", "set", "psnr", "ssim", "colour_shift", "ms", "conversions", "protocol",
    "question",
)  # fmt: skip
TIMED = (180, 320)  # height and width in LR pixels of the image that is timed


class Minimum(nn.Module):
    """The clip as mobile frameworks write it, min(relu(x), 1), which ONNX Runtime does not fold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x clipped to [0, 1]."""
        return torch.minimum(x.relu(), x.new_ones(()))


class Behind(nn.Module):
    """A network without its clip, and the clip behind its pixel shuffle."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.network, self.last = without_clip(model), nn.Hardtanh(0.0, 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the clipped SR images (N, 3, scale*H, scale*W) of LR images (N, 3, H, W)."""
        return self.last(self.network(x))


def variants_of(engines: Sequence[str]) -> list[tuple[str, str]]:
    """Return the variants and strategies to run; ValueError for an engine that is not installed."""
    missing = "litert" in engines and not all(map(is_installed, PACKAGES))
    if missing and "onnx" not in engines:
        raise ValueError("LiteRT is not installed; install it by  pip install '.[litert]'")
    return [
        *(VARIANTS if "onnx" in engines else []),
        *(PHONE_VARIANTS if "litert" in engines and not missing else []),
    ]


def phone_file(model: nn.Module, variant: str, strategy: str, pool: Sequence[torch.Tensor]) -> bytes:
    """Return the LiteRT file of one variant, for images of TIMED, calibrated on regions of the LR images."""
    if variant == PHONE_FLOAT:
        return export_litert(model, TIMED)
    images = representative_images(model, pool, strategy)
    side = min(REGION, *(min(image.shape[-2:]) for image in images if min(image.shape[-2:]) >= TILE))
    regions = tiles(images, side)
    regions = regions[:: -(-len(regions) // MOST_REGIONS)]
    if variant == PHONE_FREE:
        return quantize_litert(without_clip(model), regions, size=TIMED)
    if variant == PHONE_BEHIND:
        every = [f"network.{n}" for n, m in without_clip(model).named_modules() if isinstance(m, nn.Conv2d)]
        return quantize_litert(Behind(model), regions, every, size=TIMED, clip="float")
    return quantize_litert(model, regions, size=TIMED, clip=PHONE_CLIPS[variant])


def network_of(file: Path) -> nn.Module:
    """Return the network in a file of either engine."""
    return LitertNetwork(file) if file.suffix == ".tflite" else OnnxNetwork(file)


def conversions_in(file: Path) -> int | str:
    """Count the conversions between integers and floats in a LiteRT file; "" for another."""
    return len(audit_litert(file).conversions) if file.suffix == ".tflite" else ""


def variant_graph(model: nn.Module, variant: str, strategy: str, pool: Sequence[torch.Tensor]):
    """Return the ONNX graph of one variant, calibrated on the LR images of `pool` by `strategy`."""
    if variant == FLOAT:
        return export_onnx(model)
    images = representative_images(model, pool, strategy)
    if variant == CLIP:
        return quantize_int8(model, images)
    free = without_clip(model)
    if variant == UNFOLDED:
        free.clip = Minimum()
    return quantize_int8(free, images)


def score(network: nn.Module, reference: nn.Module, pairs: Sequence[Pair], scale: int) -> dict[str, float]:
    """Return PSNR in dB and SSIM against the ground truth, and the colour shift against the float network."""
    result = evaluate(network, pairs, scale)
    shifts = [colour_shift(super_resolve(network, p.lr), super_resolve(reference, p.lr)) for p in pairs]
    return {
        "psnr": round(result.psnr, 4),
        "ssim": round(result.ssim, 5),
        "colour_shift": round(sum(shifts) / len(shifts), 3),
    }


def rows(
    name: str,
    model: nn.Module,
    scale: int,
    sets: dict[str, Sequence[Pair]],
    pool: Sequence[torch.Tensor],
    folder: Path,
    done: Sequence[dict] = (),
    variants: Sequence[tuple[str, str]] | None = None,
) -> Iterator[list[dict]]:
    """Yield all rows of this network so far after each variant, and once more with the times.

    The files go to `folder` and are what is scored and timed. Variants in `done` are not computed again.
    """
    variants = list(VARIANTS if variants is None else variants)
    found = [row for row in done if row["model"] == name]
    suffix = lambda variant: ".tflite" if variant.startswith(PHONE) else ".onnx"  # noqa: E731
    stem = lambda *parts: "-".join((name, *parts)).replace(" ", "_").replace(",", "")  # noqa: E731
    files = {(v, s): folder / f"{stem(v, s)}{suffix(v)}" for v, s in variants}
    found = [row for row in found if (row["variant"], row["strategy"]) in files]
    for (variant, strategy), file in files.items():
        own = [row for row in found if (row["variant"], row["strategy"]) == (variant, strategy)]
        if {row["set"] for row in own} == set(sets) and file.exists():
            continue
        found = [row for row in found if row not in own]
        if file.suffix == ".tflite":
            file.write_bytes(phone_file(model, variant, strategy, pool))
        else:
            file.write_bytes(variant_graph(model, variant, strategy, pool).SerializeToString())
        network, conversions = network_of(file), conversions_in(file)
        for images, pairs in sets.items():
            row = {"model": name, "variant": variant, "strategy": strategy, "set": images, "ms": ""}
            row["conversions"] = conversions
            found.append(row | score(network, model, pairs, scale))
        found.sort(key=lambda row: variants.index((row["variant"], row["strategy"])))
        yield found
    if any(row["ms"] == "" for row in found):
        lr = torch.rand(1, 3, *TIMED, generator=torch.Generator().manual_seed(0))
        networks = {f"{v}|{s}": network_of(file) for (v, s), file in files.items()}
        ms = time_in_turns(networks, lr, clock=time.thread_time)
        found = [row | {"ms": round(ms[f"{row['variant']}|{row['strategy']}"], 2)} for row in found]
    yield found


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core cfqp", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=["xlsr", "abpn"], help="bundled networks or checkpoints"
    )
    parser.add_argument("--scale", type=int, default=3, help="by which they enlarge; by default 3")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of HR images to choose from")
    parser.add_argument("--validation", type=Path, required=True, help="folder of HR images to choose by")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders with HR/ and LR/")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES, help="all by default")
    parser.add_argument(
        "--out", type=Path, required=True, help="where the results go, without their suffixes"
    )
    return parser


def _inputs(args) -> tuple[dict[str, nn.Module], dict[str, list[Pair]], list[torch.Tensor]]:
    paths = [Path(name) for name in args.models]
    models = {
        p.stem if p.suffix else f"{p}_x{args.scale}": (
            load_checkpoint(p) if p.suffix else create_model(str(p), args.scale)
        )
        for p in paths
    }
    if len(models) < len(paths):
        raise ValueError("two of --models have the same name; rename one of the files")
    for name, model in models.items():
        without_clip(model)
        if model.scale != args.scale:
            raise ValueError(f"{name} enlarges x{model.scale}, but the images are for --scale {args.scale}")
    scale = f"x{args.scale}"
    names = distinct_names(
        [args.validation, *args.images], lambda p: p.parent.name if p.name == scale else p.name
    )
    sets = {names[0]: reduced_pairs(args.validation, args.scale)}
    sets |= {name: list(paired_folder(p, args.scale)) for name, p in zip(names[1:], args.images, strict=True)}
    pool = [make_lr(image, args.scale) for image in load_folder(args.calibration)]
    return models, sets, pool


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command `python -m core cfqp`."""
    parser = _arguments()
    args = parser.parse_args(argv)
    try:
        models, sets, pool = _inputs(args)
        output_file(args.out, ".csv").parent.mkdir(parents=True, exist_ok=True)
        _run(models, args.scale, sets, pool, args.out, variants_of(args.engines))
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def _run(
    models, scale: int, sets: dict[str, list[Pair]], pool: list[torch.Tensor], out: Path, variants
) -> None:
    csv, validation = output_file(out, ".csv"), next(iter(sets))
    protocol = (
        f"calibrated on {NUMBER} of {len(pool)} images, whole network in INT8; luma PSNR, 8-bit rounding, "
        f"{scale} pixels of border cropped; ms: median processor time, one thread, {TIMED[1]}x{TIMED[0]} LR"
    )
    seen = torch.cat([image.flatten() for image in pool])
    texts = {n: {"protocol": protocol, "question": digest(model, sets, seen)} for n, model in models.items()}
    before = read_rows(csv, COLUMNS)
    state = {n: [row for row in before if row["question"] == texts[n]["question"]] for n in models}
    with tqdm(total=len(models) * len(variants)) as bar:
        for name, model in models.items():
            for found in rows(name, model, scale, sets, pool, out.parent, state[name], variants):
                state[name] = [row | texts[name] for row in found]
                write_rows(csv, [*chain(*state.values())], COLUMNS)
                bar.update(sum(map(len, state.values())) // len(sets) - bar.n)
            bar.write(f"\n{name}\n\n{summary(state[name], name, validation)}\n")
