"""The record of a run of quantization-aware training, as plain numbers that a file can hold.

Curves over steps: loss, PSNR, and by layer the mismatch, the angle between the two gradients, the share of
weights in conflict, and the learned ranges. Snapshots: histograms of the layers' inputs, each over a fixed
span.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from core.ptq.calibration import recorded
from core.qat.odm_loss import conflict, cosine
from core.qat.training import Gradients, QuantizedTraining

BINS = 96
SPAN = 1.5  # width of a histogram, relative to the range of the layer's input in the float network
CURVES = ("step", "loss")
BY_LAYER = ("mismatch", "cosine", "conflict", "low", "high", "gamma")


def empty_record(layers: Sequence[str]) -> dict:
    """Return a record without steps and snapshots."""
    curves = {name: [] for name in (*CURVES, *BY_LAYER)}
    return {
        "layers": list(layers),
        **curves,
        "psnr": {"step": [], "psnr_y": []},
        "spans": {},
        "snapshots": [],
    }


def add_step(record: dict, training: QuantizedTraining, gradients: Gradients) -> None:
    """Add the state before a step to every curve: one number, or one by layer.

    mismatch: ||X - q(X)||_2 (v2) or the deviation (v1) of the layer. cosine, conflict: of the two gradients
    of its weights; None for the last quantized layer, whose output no quantizer receives. gamma: 1 if the
    clipping is not corrected.
    """
    numbers: dict[str, list[float | None]] = {name: [] for name in BY_LAYER}
    for name, quantizer in training.quantizers().items():
        weight = f"{name}.parametrizations.weight.original"
        pair = gradients.reconstruction[weight], gradients.regularizer.get(weight)
        numbers["mismatch"].append(float(gradients.penalties[name]))
        regularized = pair[1] is not None
        numbers["cosine"].append(float(cosine(*pair)) if regularized else None)
        numbers["conflict"].append(float(conflict(*pair)) if regularized else None)
        for end, value in zip(("low", "high"), quantizer.ends(), strict=True):
            numbers[end].append(float(value.detach()))
        gamma = training.weight_clipping()[name].gamma
        numbers["gamma"].append(1.0 if gamma is None else float(gamma.detach()))
    record["step"].append(training.step)
    record["loss"].append(_short(float(gradients.loss)))
    for curve, values in numbers.items():
        record[curve].append([_short(value) for value in values])


def add_psnr(record: dict, step: int, psnr: float) -> None:
    """Add the PSNR on the validation images, in dB, to its curve."""
    record["psnr"]["step"].append(step)
    record["psnr"]["psnr_y"].append(round(psnr, 3))


def add_snapshot(record: dict, step: int, model: nn.Module, images: torch.Tensor) -> None:
    """Add histograms of every layer's input in `model` on the images, before it is quantized.

    The first snapshot, of the float network, sets the spans; values beyond count in the outermost bins.
    """
    seen = inputs(model, images, record["layers"])
    spans = record["spans"]
    for name, x in seen.items():
        if name not in spans:
            low, high = float(x.min()), float(x.max())
            margin = (SPAN - 1) / 2 * (high - low)
            spans[name] = [_short(min(0.0, low) if low >= 0 else low - margin), _short(high + margin)]
    counts = {
        name: np.histogram(x.clip(*spans[name]), BINS, spans[name])[0].tolist() for name, x in seen.items()
    }
    record["snapshots"].append({"step": step, "histograms": counts})


@torch.no_grad()
def inputs(model: nn.Module, images: torch.Tensor, layers: Sequence[str]) -> dict[str, np.ndarray]:
    """Return all values that each layer receives from the images, by layer and flat."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, x: torch.Tensor) -> None:
        seen[name] = np.concatenate(
            [seen.get(name, np.empty(0, np.float32)), x.float().cpu().numpy().ravel()]
        )

    with recorded(model, layers, keep):
        model(images)
    return seen


def _short(value: float | None) -> float | None:
    """Round to four significant digits."""
    return None if value is None else float(f"{value:.4g}")
