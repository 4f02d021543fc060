"""Train one of the bundled architectures in float, resumable.

    python -m core train --model edsr --scale 2 --data PHOTOS --out runs/edsr_x2

Writes OUT.safetensors and its card OUT.json; killed and started again, it goes on from OUT.ckpt.
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


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(prog="python -m core train", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="edsr")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--data", type=Path, required=True, help="folder of HR training images")
    parser.add_argument("--validation", type=Path, help="folder of HR images to score on")
    parser.add_argument("--benchmark", type=Path, help="folder with Set5/ and Set14/ to score on")
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without their suffixes")
    parser.add_argument("--start-from", type=Path, help="checkpoint whose matching layers are copied")
    for field in dataclasses.fields(TrainConfig):
        flag, value = f"--{field.name.replace('_', '-')}", getattr(defaults, field.name)
        if isinstance(value, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(value), default=value)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = _arguments(argv)
    try:
        _run(args)
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(str(error)) from error


def _run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    config = TrainConfig(**{f.name: getattr(args, f.name) for f in dataclasses.fields(TrainConfig)})
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
    rounded = load_checkpoint(output_file(args.out, ".safetensors"))  # score what is stored: float16
    card["scores"] = scores(rounded, args.scale, args.validation, args.benchmark)
    save_bundle(model, args.out, card)
    print(json.dumps(card, indent=2))
