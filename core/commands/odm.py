"""Train a quantized network with ODM (arXiv 2307.13337, v1 and v2) or PAMS.

    python -m core odm --model edsr --scale 2 --bits 2 --data PHOTOS --validation KODAK --out runs/odm_w2a2

Without --data and --validation, on packaged photographs: four to train on and two to score on. It
writes `--out`.safetensors, the quantized network (`core.load_quantized`), and `--out`.json, its card with all
constants and the recorded curves, renewed while it runs. Killed at any moment and started again, the run goes
on from `--out`.ckpt and ends with the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from core.checkpoints.loading import load_checkpoint
from core.images import Pair, demo_image, demo_names, make_lr
from core.images.folders import load_folder, reduced_pairs
from core.models import MODELS
from core.qat.config import REGULARIZERS, VERSIONS, OdmConfig
from core.qat.run import VALIDATION_SIDE, middles, run, write_json
from core.training.bundle import scores
from core.utils.device import add_device, use_device
from core.utils.files import folder_name, output_file
from core.zoo import create_model

TRAINING_PHOTOGRAPHS = 4  # of the packaged ones; the rest are to score on


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m core odm", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="edsr", help="a bundled network")
    parser.add_argument("--checkpoint", type=Path, help="float weights of your own instead")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--data", type=Path, help="folder of HR training images")
    parser.add_argument("--validation", type=Path, help="folder of HR images to score on")
    parser.add_argument("--benchmark", type=Path, help="folder with Set5/ and Set14/ to score on at the end")
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without their suffixes")
    add_device(parser)
    choices = {"version": VERSIONS, "regularizer": REGULARIZERS}
    for field in dataclasses.fields(OdmConfig):
        flag = f"--{field.name.replace('_', '-')}"
        if field.name in ("correction", "offsets"):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction)
        else:
            kind = str if field.name in choices else type(field.default)
            kind = float if field.name in ("lambda_m", "lr", "range_rate") else kind
            parser.add_argument(flag, type=kind, default=field.default, choices=choices.get(field.name))
    return parser.parse_args(argv)


def _network(args: argparse.Namespace) -> nn.Module:
    """What is to be trained, in float; ValueError if it is of another scale."""
    if not args.checkpoint:
        return create_model(args.model, args.scale)
    model = load_checkpoint(args.checkpoint)
    if model.scale != args.scale:
        raise ValueError(
            f"{args.checkpoint.name} enlarges x{model.scale}, not x{args.scale}; give --scale {model.scale}"
        )
    return model


def _images(args: argparse.Namespace) -> tuple[list[torch.Tensor], list[Pair], dict[str, str]]:
    """What to train on, the pairs to score on, and both in words."""
    names = demo_names()
    mine, others = names[:TRAINING_PHOTOGRAPHS], names[TRAINING_PHOTOGRAPHS:]
    images, what = [demo_image(name) for name in mine], ", ".join(mine)
    pairs, scored = [], ""
    if args.data:
        images, what = load_folder(args.data), folder_name(args.data)
    if args.validation:
        pairs, scored = reduced_pairs(args.validation, args.scale), folder_name(args.validation)
    elif not args.data:
        photographs = [(name, demo_image(name)) for name in others]
        pairs = [Pair(name, make_lr(hr, args.scale), hr) for name, hr in photographs]
        scored = ", ".join(others)
    middle = f", the middle {VALIDATION_SIDE}x{VALIDATION_SIDE} LR pixels"
    return images, pairs, {"data": what, "validation": scored and scored + middle}


def main(argv: Sequence[str] | None = None) -> None:
    from tqdm import tqdm

    args = _arguments(argv)
    try:
        config = OdmConfig(**{f.name: getattr(args, f.name) for f in dataclasses.fields(OdmConfig)})
        output_file(args.out, ".json")  # refused before anything is computed
        model = _network(args).to(use_device(args.device, exact=False))
        images, pairs, described = _images(args)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    card = {"model": args.model, "scale": args.scale} | described
    if args.checkpoint:
        card |= {"model": args.checkpoint.name, "checkpoint": str(args.checkpoint)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tqdm(total=config.steps, mininterval=5) as bar:

            def report(step: int, loss: float, record: dict) -> None:
                bar.update(step - bar.n)
                psnr = record["psnr"]["psnr_y"]
                scored = {"PSNR": f"{psnr[-1]:.2f} dB"} if psnr else {}
                bar.set_postfix(loss=f"{loss:.4f}", **scored, refresh=False)

            middle = middles(pairs, args.scale)
            done = run(model, images, args.scale, config, args.out, card, middle, None, report)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the same command goes on from {output_file(args.out, '.ckpt')}") from None
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(str(error)) from error
    result = json.loads(output_file(args.out, ".json").read_text())
    use_device(args.device)
    result = {"scores": scores(done, args.scale, args.validation, args.benchmark)} | result
    write_json(result, output_file(args.out, ".json"))
    print(f"{config}: {json.dumps(result['scores'])}")
