"""Train a quantized network with ODM (arXiv 2307.13337, v1 and v2) or PAMS.

    python -m core odm --model edsr --scale 2 --bits 2 --data PHOTOS --validation KODAK --out runs/odm_w2a2

Without --data and --validation, packaged photographs are used: four to train on and two to score on. It
writes OUT.safetensors, the quantized network (`core.load_quantized`), and OUT.json, its card with all
constants and the recorded curves, updated while it runs. A run that was killed continues from OUT.ckpt when
it is started again, and ends with the same weights.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from core.checkpoints.loading import check_res_scale, load_checkpoint
from core.commands.common import add_res_scale, warnings_as_sentences
from core.images import Pair, demo_image, demo_names, make_lr
from core.images.folders import load_folder, reduced_pairs
from core.models import MODELS
from core.qat.config import REGULARIZERS, VERSIONS, OdmConfig
from core.qat.run import VALIDATION_SIDE, middles, run, write_json
from core.qat.training import QuantizedTraining
from core.training.bundle import scores
from core.training.patches import PatchSampler
from core.utils.device import add_device, use_device
from core.utils.files import folder_name, output_file
from core.utils.flags import add_flags, from_flags
from core.zoo import create_model

TRAINING_PHOTOGRAPHS = 4  # of the packaged ones; the others are scored
TEXTS = {
    "bits": "of weights and activations",
    "version": "which decides what is left out below",
    "regularizer": "how the gradients of reconstruction and mismatch go together",
    "correction": "whether the ranges of weights are corrected",
    "offsets": "whether layers get v1's shifts and scales",
    "steps": "of the optimizer",
    "batch": "patches a step",
    "patch": "side of an LR patch in pixels",
    "lr": "learning rate of the weights; by default the version's",
    "range_rate": "times as fast the ranges learn; by default the version's",
    "lambda_m": "weight of the regularizer; by default the network's",
    "percentile": "of the first inputs and of the weights, where their ranges begin",
    "offset_share": "share of the layers that get a shift, and of those that get a scale",
    "seed": "of patches and their order",
}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m core odm", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="edsr", help="a bundled network")
    parser.add_argument("--checkpoint", type=Path, help="float weights of your own instead")
    parser.add_argument("--scale", type=int, default=2, help="by which it enlarges; by default 2")
    parser.add_argument("--data", type=Path, help="folder of HR training images")
    parser.add_argument("--validation", type=Path, help="folder of HR images to score on")
    parser.add_argument("--benchmark", type=Path, help="folder with Set5/ and Set14/ to score on at the end")
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without their suffixes")
    add_res_scale(parser)
    add_device(parser)
    add_flags(parser, OdmConfig, TEXTS, version=VERSIONS, regularizer=REGULARIZERS)
    return parser.parse_args(argv)


def _network(args: argparse.Namespace) -> nn.Module:
    """Return the float network to be trained; ValueError if it has another scale."""
    if not args.checkpoint:
        return create_model(args.model, args.scale)
    model = load_checkpoint(args.checkpoint, args.res_scale)
    if model.scale != args.scale:
        raise ValueError(
            f"{args.checkpoint.name} enlarges x{model.scale}, not x{args.scale}; give --scale {model.scale}"
        )
    return model


def _images(args: argparse.Namespace) -> tuple[list[torch.Tensor], list[Pair], dict[str, str]]:
    """Return the training images, the pairs to score on, and a description of both."""
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
    """Run the command `python -m core odm`."""
    from tqdm import tqdm

    args = _arguments(argv)
    try:
        config = from_flags(OdmConfig, args)
        output_file(args.out, ".json")  # a bad name is refused before anything is computed
        check_res_scale(args.res_scale, [args.checkpoint] if args.checkpoint else [])
        with warnings_as_sentences("python -m core odm"):
            network = _network(args)
        model = network.to(use_device(args.device, exact=False))
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
            sampler = PatchSampler(images, args.scale, config.patch)
            done = run(QuantizedTraining(model, sampler, config), args.out, card, middle, report)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the same command goes on from {output_file(args.out, '.ckpt')}") from None
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(str(error)) from error
    result = json.loads(output_file(args.out, ".json").read_text())
    use_device(args.device)
    result = {"scores": scores(done, args.scale, args.validation, args.benchmark)} | result
    write_json(result, output_file(args.out, ".json"))
    print(f"{config}: {json.dumps(result['scores'])}")
