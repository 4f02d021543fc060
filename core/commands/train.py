"""Train one of the bundled architectures in float, resumable.

    python -m core train --model edsr --scale 2 --data PHOTOS --out runs/edsr_x2

Writes OUT.safetensors and its card OUT.json. A run that was killed continues from OUT.ckpt when started
again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from core.checkpoints.loading import load_checkpoint
from core.images.folders import load_folder
from core.models import MODELS, new_model
from core.training.bundle import card_of, save_bundle, scores, transfer
from core.training.loop import TrainConfig, train
from core.training.patches import PatchSampler
from core.utils.files import folder_name, output_file
from core.utils.flags import add_flags, from_flags

TEXTS = {
    "steps": "of the optimizer",
    "batch": "patches a step",
    "patch": "side of an LR patch in pixels",
    "lr_peak": "the highest learning rate",
    "warmup": "share of the steps until that rate is reached",
    "ema": "decay of the average of the weights, which is what is saved",
    "seed": "of weights, patches and their order",
    "bfloat16": "whether convolutions compute in bfloat16",
    "frozen_batchnorm": "whether BatchNorm normalizes by its stored statistics",
}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m core train", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="edsr", help="by default edsr")
    parser.add_argument("--scale", type=int, default=2, help="by which it enlarges; by default 2")
    parser.add_argument("--data", type=Path, required=True, help="folder of HR training images")
    parser.add_argument("--validation", type=Path, help="folder of HR images to score on")
    parser.add_argument("--benchmark", type=Path, help="folder with Set5/ and Set14/ to score on")
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without their suffixes")
    parser.add_argument("--start-from", type=Path, help="checkpoint whose matching layers are copied")
    add_flags(parser, TrainConfig, TEXTS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command `python -m core train`."""
    args = _arguments(argv)
    try:
        _run(args)
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(str(error)) from error


def _run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    config = from_flags(TrainConfig, args)
    checkpoint = output_file(args.out, ".ckpt")
    torch.manual_seed(config.seed)
    model = new_model(args.model, args.scale)
    start = load_checkpoint(args.start_from) if args.start_from else None
    if start is not None:
        print(f"{transfer(model, start)} tensors copied from {args.start_from}")
    images = load_folder(args.data)
    sampler = PatchSampler(images, args.scale, config.patch)
    with tqdm(total=config.steps, mininterval=5) as bar:

        def report(step: int, loss: float) -> None:
            bar.update(step + 1 - bar.n)
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)

        train(model, sampler, config, checkpoint, report)
    card = {
        "model": args.model,
        "scale": args.scale,
        "about": model.about,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "data": f"{len(sampler.pairs)} images of {folder_name(args.data)}",
        "loss": "L1",
        "optimizer": "Adam, one cycle",
        "started_from": card_of(args.start_from),
        **dataclasses.asdict(config),
    }
    save_bundle(model, args.out, card)
    rounded = load_checkpoint(output_file(args.out, ".safetensors"))  # score the stored float16 weights
    card["scores"] = scores(rounded, args.scale, args.validation, args.benchmark)
    save_bundle(model, args.out, card)
    print(json.dumps(card, indent=2))
