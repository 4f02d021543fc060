"""What a clip costs in INT8, and what representative images make it unnecessary: one experiment.

    python -m core cfqp --models xlsr abpn --scale 3 --calibration PHOTOS --validation KODAK \\
        --images Set5/x3 Set14/x3 --out runs/cfqp

Each network runs in float, in INT8 with its clip, and in INT8 without it after each strategy of
`core.deploy.representative`. --models are bundled networks or checkpoints' paths. The strategy is chosen on
--validation alone. Writes OUT.csv and the ONNX files beside it. Rows that OUT.csv holds already,
for the same network and images, are kept: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from core.analysis.comparison import digest
from core.analysis.evaluation import evaluate, super_resolve
from core.checkpoints.loading import load_checkpoint
from core.commands.report import read_rows, write_rows
from core.deploy import OnnxNetwork, export_onnx, quantize_int8, time_onnx
from core.deploy.representative import NUMBER, STRATEGIES, representative_images
from core.images import Pair, make_lr
from core.images.folders import load_folder, paired_folder, reduced_pairs
from core.images.metrics import colour_shift
from core.models import without_clip
from core.utils.files import distinct_names, output_file
from core.zoo import create_model

FLOAT, CLIP, UNFOLDED, FREE = "float", "INT8 with clip", "INT8 with clip, not folded", "INT8 clip-free"
# The tamed images also with the clip: what they alone are worth.
VARIANTS = [
    (FLOAT, ""), (CLIP, "random"), (CLIP, "coverage+crop"), (UNFOLDED, "random"),
    *((FREE, name) for name in STRATEGIES),
]  # fmt: skip
COLUMNS = (
    "model", "variant", "strategy", "set", "psnr", "ssim", "colour_shift", "ms", "protocol", "question",
)  # fmt: skip
TIMED = (180, 320)  # LR pixels that are timed


class Minimum(nn.Module):
    """The clip as mobile frameworks write it, min(relu(x), 1): ONNX Runtime folds no Min into a range."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(x.relu(), x.new_ones(()))


def variant_graph(model: nn.Module, variant: str, strategy: str, pool: Sequence[torch.Tensor]):
    """The ONNX graph of one variant, calibrated on what `strategy` makes of the LR images of `pool`."""
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
    """PSNR in dB and SSIM against the ground truth; shift of the mean colour against the float network."""
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
) -> Iterator[list[dict]]:
    """After each variant all rows of this network so far, last with the times; `done` are not computed again.

    The ONNX files go to `folder` and are what is scored and timed.
    """
    found = [row for row in done if row["model"] == name]
    files = {(v, s): folder / f"{name}-{v}-{s}.onnx".replace(" ", "_").replace(",", "") for v, s in VARIANTS}
    for (variant, strategy), file in files.items():
        own = [row for row in found if (row["variant"], row["strategy"]) == (variant, strategy)]
        if {row["set"] for row in own} == set(sets) and file.exists():
            continue
        found = [row for row in found if row not in own]
        file.write_bytes(variant_graph(model, variant, strategy, pool).SerializeToString())
        network = OnnxNetwork(file)
        for images, pairs in sets.items():
            row = {"model": name, "variant": variant, "strategy": strategy, "set": images, "ms": ""}
            found.append(row | score(network, model, pairs, scale))
        found.sort(key=lambda row: VARIANTS.index((row["variant"], row["strategy"])))
        yield found
    if any(row["ms"] == "" for row in found):
        lr = torch.rand(1, 3, *TIMED, generator=torch.Generator().manual_seed(0))
        ms = time_onnx({f"{v}|{s}": file for (v, s), file in files.items()}, lr)
        found = [row | {"ms": round(ms[f"{row['variant']}|{row['strategy']}"], 2)} for row in found]
    yield found


def best_strategy(found: Sequence[dict], name: str, validation: str) -> str:
    """The clip-free strategy of the highest PSNR on the validation set; the first of equals."""
    own = [r for r in found if (r["model"], r["variant"], r["set"]) == (name, FREE, validation)]
    return max(own, key=lambda row: float(row["psnr"]))["strategy"]


def summary(found: Sequence[dict], name: str, validation: str) -> str:
    """The table of one network, and what the best strategy wins or loses against INT8 with the clip."""
    cells = {(r["variant"], r["strategy"], r["set"]): r for r in found if r["model"] == name}
    sets = list(dict.fromkeys(images for _, _, images in cells))
    lines = [["", *(f"{images}: dB / SSIM / shift" for images in sets), "ms"]]
    for variant, strategy in dict.fromkeys((v, s) for v, s, _ in cells):
        own = [cells[variant, strategy, images] for images in sets]
        texts = [
            f"{float(r['psnr']):.3f} / {float(r['ssim']):.4f} / {float(r['colour_shift']):.2f}" for r in own
        ]
        lines.append([f"{variant}: {strategy}".strip(": "), *texts, f"{float(own[0]['ms']):.1f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    table = "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    best = best_strategy(found, name, validation)
    free, clip = ([cells[v, s, images] for images in sets] for v, s in ((FREE, best), (CLIP, "random")))
    gains = [
        f"{float(a['psnr']) - float(b['psnr']):+.3f} dB on {images}"
        for a, b, images in zip(free, clip, sets, strict=True)
    ]
    less = [1 - float(free[0]["ms"]) / float(cells[v, "random", sets[0]]["ms"]) for v in (CLIP, UNFOLDED)]
    return (
        f"{table}\n\nBest on {validation}: {best}. Against INT8 with its clip {', '.join(gains)}; "
        f"{100 * less[0]:.0f} % less time, {100 * less[1]:.0f} % less than where the engine cannot "
        "fold the clip."
    )


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core cfqp", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=["xlsr", "abpn"], help="bundled networks or checkpoints"
    )
    parser.add_argument("--scale", type=int, default=3)
    parser.add_argument("--calibration", type=Path, required=True, help="folder of HR images to choose from")
    parser.add_argument("--validation", type=Path, required=True, help="folder of HR images to choose by")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders with HR/ and LR/")
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
    parser = _arguments()
    args = parser.parse_args(argv)
    try:
        models, sets, pool = _inputs(args)
        output_file(args.out, ".csv").parent.mkdir(parents=True, exist_ok=True)
        _run(models, args.scale, sets, pool, args.out)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def _run(models, scale: int, sets: dict[str, list[Pair]], pool: list[torch.Tensor], out: Path) -> None:
    csv, validation = output_file(out, ".csv"), next(iter(sets))
    protocol = (
        f"calibrated on {NUMBER} of {len(pool)} images, whole network in INT8; luma PSNR, 8-bit rounding, "
        f"{scale} pixels of border cropped; ms: median, one thread, {TIMED[1]}x{TIMED[0]} LR"
    )
    seen = torch.cat([image.flatten() for image in pool])
    texts = {n: {"protocol": protocol, "question": digest(model, sets, seen)} for n, model in models.items()}
    before = read_rows(csv, COLUMNS)
    state = {n: [row for row in before if row["question"] == texts[n]["question"]] for n in models}
    with tqdm(total=len(models) * len(VARIANTS)) as bar:
        for name, model in models.items():
            for found in rows(name, model, scale, sets, pool, out.parent, state[name]):
                state[name] = [row | texts[name] for row in found]
                write_rows(csv, [*chain(*state.values())], COLUMNS)
                bar.update(sum(map(len, state.values())) // len(sets) - bar.n)
            bar.write(f"\n{name}\n\n{summary(state[name], name, validation)}\n")
