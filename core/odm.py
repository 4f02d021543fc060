"""Quantization-aware training with ODM (arXiv 2307.13337, v1 and v2) or PAMS: the whole run, and its command.

    python -m core.odm --model edsr --scale 2 --bits 2 --data PHOTOS --validation KODAK --out runs/odm_w2a2

Without --data and --validation, on packaged photographs: four to train on and two to score on. It
writes `--out`.safetensors, the quantized network (`core.load_quantized`), and `--out`.json, its card with all
constants and the recorded curves, renewed while it runs. The state is a function of the step alone: killed at
any moment and started again, the run goes on from `--out`.ckpt and ends with the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from core.checkpoint import save_quantized
from core.cost import cost
from core.device import add_device, use_device
from core.evaluation import evaluate
from core.files import folder_name, output_file, replace_file
from core.images import Pair, demo_image, demo_names, make_lr
from core.models import MODELS, load_checkpoint
from core.odm_config import REGULARIZERS, VERSIONS, OdmConfig
from core.odm_record import add_psnr, add_snapshot, add_step, empty_record
from core.odm_training import RANGE_BATCHES, QuantizedTraining
from core.scope import Layers
from core.training import PatchSampler, load_folder, reduced_pairs, scores
from core.zoo import create_model

CURVE_POINTS, PSNR_POINTS, SNAPSHOTS = 100, 20, 8  # a run
VALIDATION_SIDE = 96  # LR pixels of the middle of every validation image, scored while training
SAVE_EVERY = 5  # seconds
TRAINING_PHOTOGRAPHS = 4  # of the packaged ones; the rest are to score on


def train(
    training: QuantizedTraining,
    checkpoint: Path,
    validation: Sequence[Pair] = (),
    report: Callable[[int, float, dict], None] = lambda step, loss, record: None,
) -> dict:
    """Train to the end, resuming from `checkpoint` if it exists; the record (`core.odm_record`).

    validation: pairs to score on along the way. `report(steps done, loss, record)` is called after every
    step; what it raises, or a KeyboardInterrupt, ends the run with its state saved. FloatingPointError when
    the loss is not finite.
    """
    steps = training.config.steps
    record = empty_record(list(training.quantizers()))
    if checkpoint.exists():
        record = training.resume(checkpoint)
    saved = time.monotonic()
    try:
        while training.step < steps:
            wanted = _due(training.step, steps, CURVE_POINTS)
            if wanted:
                _look(record, training, validation)
            gradients = training.gradients(wanted or training.config.regularization != "none")
            if wanted:
                add_step(record, training, gradients)
            training.advance(gradients)
            if training.step == steps:
                _look(record, training, validation)
            if time.monotonic() > saved + SAVE_EVERY or training.step == steps:
                training.save(checkpoint, record)
                saved = time.monotonic()
            report(training.step, float(gradients.loss), record)
    except FloatingPointError:
        raise  # a broken state is not kept: the last sound one is
    except BaseException:
        training.save(checkpoint, record)
        raise
    return record


def _due(step: int, steps: int, points: int) -> bool:
    """Whether `step` is one of `points` spread over the run, its end among them."""
    return step == steps or step % max(1, steps // points) == 0


def _look(record: dict, training: QuantizedTraining, validation: Sequence[Pair]) -> None:
    """Score and take histograms where they are due and not there yet."""
    step, steps = training.step, training.config.steps
    if not record["snapshots"]:
        add_snapshot(record, None, training.reference, _probe(training))
    if _due(step, steps, SNAPSHOTS) and record["snapshots"][-1]["step"] != step:
        add_snapshot(record, step, training.quantized(), _probe(training))
    if validation and _due(step, steps, PSNR_POINTS) and step not in record["psnr"]["step"]:
        result = evaluate(training.quantized(), validation, training.sampler.scale)
        add_psnr(record, step, result.psnr)


def _probe(training: QuantizedTraining) -> torch.Tensor:
    """Patches for the histograms that the run does not train on."""
    return training.batch(training.config.steps + RANGE_BATCHES)[0]


def middles(pairs: Sequence[Pair], scale: int, side: int = VALIDATION_SIDE) -> list[Pair]:
    """The middle `side` LR pixels of each pair, or what there is of them."""
    cut = []
    for name, lr, hr in pairs:
        height, width = (min(side, size) for size in lr.shape[-2:])
        y, x = (lr.shape[-2] - height) // 2, (lr.shape[-1] - width) // 2
        ends = [
            image[..., y * f : (y + height) * f, x * f : (x + width) * f]
            for image, f in ((lr, 1), (hr, scale))
        ]
        cut.append(Pair(name, *ends))
    return cut


def run(
    model: nn.Module,
    images: Sequence[torch.Tensor],
    scale: int,
    config: OdmConfig,
    out: Path,
    card: dict,
    validation: Sequence[Pair] = (),
    layers: Layers = None,
    report: Callable[[int, float, dict], None] = lambda step, loss, record: None,
) -> nn.Module:
    """Train on HR images (1, 3, H, W) and write `out`.safetensors and .json; the quantized network.

    card: what is known of network and data. The file .json holds it, the constants, and the record so far.
    """
    sampler = PatchSampler(images, scale, config.patch)
    training = QuantizedTraining(model, sampler, config, layers)
    config = training.config
    card = card | config.constants() | {"label": str(config), "images": len(sampler.pairs)}
    card |= {"quantized_layers": training.layers, "started": training.started}

    def tell(step: int, loss: float, record: dict) -> None:
        if _due(step, config.steps, CURVE_POINTS):
            write_json(card | {"done": step, "record": record}, output_file(out, ".json"))
        report(step, loss, record)

    record = train(training, output_file(out, ".ckpt"), validation, tell)
    done = training.quantized()
    save_quantized(done, output_file(out, ".safetensors"))
    card |= {"done": config.steps, "cost_of_256x256": cost(done, 256, 256)._asdict()}
    write_json(card | {"record": record}, output_file(out, ".json"))
    return done


def write_json(card: dict, path: Path) -> None:
    """So that a reader finds the old file or the new one."""
    replace_file(path, (json.dumps(card) + "\n").encode())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m core.odm", description=__doc__.splitlines()[0])
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
    return parser.parse_args()


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


def main() -> None:
    from tqdm import tqdm

    args = _arguments()
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


if __name__ == "__main__":
    main()
