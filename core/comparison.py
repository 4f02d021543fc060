"""Every method on one network under one protocol, a row each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn

from core.config import FLOAT, QuantConfig
from core.cost import cost
from core.evaluation import evaluate
from core.images import Pair
from core.methods import EVERY_METHOD, METHODS, REFINEMENTS
from core.quantize import Calibration, calibrate, quantize_model

# The published method and its exact optimum apart, then every other method.
VARIANTS = {
    "dfsq (k-means, as published)": {"method": "dfsq", "selector": "kmeans"},
    "dfsq (exact points)": {"method": "dfsq"},
} | {name: {"method": name} for name in METHODS if name != "dfsq"}
# dfsq+ built up from dfsq, each step on top of those before.
ABLATION = {
    "dfsq+ ablation: doubled set, zero pinned": {"weights": "minmax", "refine": (), "block": 0},
    "dfsq+ ablation: and normalized by blocks": {"weights": "minmax", "refine": ()},
    "dfsq+ ablation: and mse weight ranges": {"weights": "mse", "refine": ()},
    "dfsq+ ablation: and few-bit weights from the set": {"refine": ()},
    "dfsq+ ablation: and bias correction": {"refine": ("bias",)},
    "dfsq+ ablation: and compensated rounding": {"refine": ("rounding", "bias")},
    "dfsq+ ablation: and reconstruction (= dfsq+)": {"refine": REFINEMENTS},
    "dfsq+ without bias correction": {"refine": ("reconstruction", "rounding")},
    "dfsq+ normalized by the whole image": {"block": 0},
    "dfsq+ with uniform weights": {"weights": "mse"},
}
VARIANTS_AND_ABLATION = VARIANTS | {name: {"method": "dfsq+"} | own for name, own in ABLATION.items()}
HR_PIXELS = (720, 1280)  # for BitOPs, the field's usual output size
COLUMNS = (
    "network", "question", "variant", "bits", "set", "psnr", "ssim", "drop", "kib", "gbitops", "simulated",
    "seconds", "scope", "calibration", "metric",
)  # fmt: skip


def rows(
    model: nn.Module,
    scale: int,
    sets: dict[str, Sequence[Pair]],
    calibration: torch.Tensor,
    variants: dict[str, dict],
    bits: Sequence[int],
    texts: dict[str, str],
    done: Sequence[dict] = (),
    trained: Sequence[nn.Module] = (),
) -> Iterator[dict]:
    """One row per variant, bits and set, and the float network first; what `done` has is passed over.

    trained: networks that training quantized, scored as they are. texts: what stands in "network",
    "question", "calibration" and "scope" of every row. done: rows of the same question, for all sets.
    """
    metric = f"luma (BT.601), 8-bit rounding, {scale} pixels of border cropped"
    height, width = (n // scale for n in HR_PIXELS)
    common = texts | {"metric": metric}
    known = {(row["variant"], row["bits"]) for row in done}
    float_psnr = {row["set"]: float(row["psnr"]) for row in done if row["variant"] == "float"}

    def score(variant: str, quantized: nn.Module, seconds: float | str) -> Iterator[dict]:
        config, spent = quantized.quant_config, cost(quantized, height, width)
        label = f"W{config.weight_bits}A{config.activation_bits}"
        for name, pairs in sets.items():
            result = evaluate(quantized, pairs, scale)
            drop = float_psnr[name] - result.psnr
            yield common | _row(variant, label, name, result, drop, spent, _simulated(config), seconds)

    if not float_psnr:
        for name, pairs in sets.items():
            result = evaluate(model, pairs, scale)
            float_psnr[name] = result.psnr
            yield common | _row("float", "W32A32", name, result, 0.0, cost(model, height, width), "", 0.0)
    for variant, choice in variants.items():
        observed: Calibration | None = None
        for b in bits:
            if (variant, f"W{b}A{b}") in known:
                continue
            config = QuantConfig(activation_bits=b, weight_bits=b, **choice)
            start = time.perf_counter()
            observed = observed or calibrate(model, calibration, config)
            quantized = quantize_model(model, observed, config)
            seconds = time.perf_counter() - start
            yield from score(variant, quantized, seconds)
    for quantized in trained:
        config = quantized.quant_config
        if (config.method, f"W{config.weight_bits}A{config.activation_bits}") not in known:
            yield from score(config.method, quantized, "")


def _row(variant, bits, images, result, drop, spent, simulated, seconds) -> dict:
    return {
        "variant": variant,
        "bits": bits,
        "set": images,
        "psnr": round(result.psnr, 4),
        "ssim": round(result.ssim, 5),
        "drop": round(drop, 4),
        "kib": round(spent.bytes / 1024, 1),
        "gbitops": round(spent.bitops / 1e9, 1),
        "simulated": simulated,
        "seconds": round(seconds, 2) if seconds != "" else "",
    }


def _simulated(config: QuantConfig) -> str:
    """What of it ordinary integer kernels do not run."""
    parts = []
    if EVERY_METHOD[config.method].dynamic:
        parts.append("normalization of each input")
    if config.from_subset or config.method in ("log2", "apot"):
        parts.append("activation levels off the uniform grid")
    if config.weight_levels == "subset":
        parts.append("weight levels off the uniform grid")
    if config.activation_bits not in (4, 8, FLOAT):
        parts.append(f"{config.activation_bits} bits")
    return ", ".join(parts)


def digest(model: nn.Module, sets: dict[str, Sequence[Pair]], calibration: torch.Tensor) -> str:
    """Tells runs on other weights, images or calibration apart."""
    tensors = [*model.state_dict().values(), calibration]
    tensors += [image for pairs in sets.values() for pair in pairs for image in (pair.lr, pair.hr)]
    return fingerprint(tensors)


def fingerprint(tensors: Iterable[torch.Tensor]) -> str:
    """Tells other values apart; 12 hexadecimal digits."""
    seen = hashlib.sha256()
    for tensor in tensors:
        seen.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()[:12]
