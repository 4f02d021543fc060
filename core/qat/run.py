"""A whole run of quantization-aware training: resumed, recorded, scored along the way, saved.

The state is a function of the step alone: killed at any moment and started again, a run goes on from its
checkpoint and ends with the same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from core.analysis.cost import cost
from core.analysis.evaluation import evaluate
from core.images import Pair
from core.ptq.saving import save_quantized
from core.ptq.scope import Layers
from core.qat.config import OdmConfig
from core.qat.record import add_psnr, add_snapshot, add_step, empty_record
from core.qat.training import RANGE_BATCHES, QuantizedTraining
from core.training.patches import PatchSampler
from core.utils.files import output_file, replace_file

CURVE_POINTS, PSNR_POINTS, SNAPSHOTS = 100, 20, 8  # a run
VALIDATION_SIDE = 96  # LR pixels of the middle of every validation image, scored while training
SAVE_EVERY = 5  # seconds


def train(
    training: QuantizedTraining,
    checkpoint: Path,
    validation: Sequence[Pair] = (),
    report: Callable[[int, float, dict], None] = lambda step, loss, record: None,
) -> dict:
    """Train to the end, resuming from `checkpoint` if it exists; the record (`core.qat.record`).

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
