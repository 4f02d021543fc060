"""Every method on one network under one protocol, a row each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import nn

from core.analysis.cost import Cost, cost
from core.analysis.evaluation import Evaluation, evaluate
from core.images import Pair
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.methods import METHODS, REFINEMENTS
from core.ptq.quantize import Calibration, calibrate, quantize_model

# Every method as it is named, and what deliberately differs from one by a single choice.
VARIANTS: dict[str, dict] = {name: {"method": name} for name in METHODS} | {
    "daq, deviations of 8 bits": {"method": "daq", "side_bits": 8},
}
# The cells of "what is each ingredient worth" that no method is: all have the weights of dfsq+.
FEW_BITS = (4, 2)  # at which ingredients and ablation are asked for
INGREDIENTS: dict[str, dict] = {
    "dfsq+, per tensor": {"method": "dfsq+", "normalization": "tensor"},
    "dfsq+, per channel": {"method": "dfsq+", "normalization": "channel"},
    "uniform+, per channel": {"method": "uniform+", "normalization": "channel"},
    "dfsq+block, 8 bits of side information": {"method": "dfsq+block", "side_bits": 8},
    "dfsq+, weights from the set": {"method": "dfsq+", "weights": "subset"},
}
# normalization -> the variants with points of the set and with uniform levels
INGREDIENT_TABLE = {
    "per tensor, constant": ("dfsq+, per tensor", "mse+"),
    "per channel, constant": ("dfsq+, per channel", "uniform+, per channel"),
    "per channel and image (DFSQ's)": ("dfsq+", "uniform+"),
    "per block of 8×8": ("dfsq+block", "uniform+block"),
}
# dfsq+ built up from dfsq, each step on top of those before.
ABLATION: dict[str, dict] = {
    "ablation: exact points, a point at 0, doubled set": {"weights": "minmax", "refine": ()},
    "ablation: and weight ranges of least squared error": {"refine": ()},
    "ablation: and bias correction": {"refine": ("bias",)},
    "ablation: and compensated rounding": {"refine": ("rounding", "bias")},
    "ablation: and reconstruction (= dfsq+)": {"refine": REFINEMENTS},
}
STEPS = INGREDIENTS | {name: {"method": "dfsq+"} | own for name, own in ABLATION.items()}
EVERY_VARIANT = VARIANTS | STEPS
HR_PIXELS = (720, 1280)  # for BitOPs, the field's usual output size
SHARED_TEXTS = ("scope", "calibration", "metric")
COLUMNS = (
    "network", "question", "draw", "variant", "bits", "set", "psnr", "ssim", "drop", "weight_bits",
    "activation_bits", "kib", "gbitops", "dynamic", "simulated", "seconds", *SHARED_TEXTS,
)  # fmt: skip


def rows(
    model: nn.Module,
    scale: int,
    sets: Mapping[str, Sequence[Pair]],
    calibration: torch.Tensor,
    variants: Mapping[str, dict],
    bits: Sequence[int],
    texts: Mapping[str, str],
    done: Sequence[dict] = (),
    trained: Sequence[nn.Module] = (),
) -> Iterator[dict]:
    """Yield one row per variant, bits and set, and the float network first; what `done` has is passed over.

    trained: networks that training quantized, scored as they are. texts: what stands in "network",
    "question", "draw" and SHARED_TEXTS of every row. done: rows of the same question, for all sets.
    What is in a format that does not have so many bits is left out.
    """
    height, width = (n // scale for n in HR_PIXELS)
    common = dict(texts)
    known = {(row["variant"], row["bits"]) for row in done}
    float_psnr = {row["set"]: float(row["psnr"]) for row in done if row["variant"] == "float"}

    def score(variant: str, quantized: nn.Module, seconds: float | str) -> Iterator[dict]:
        config, spent = quantized.quant_config, cost(quantized, height, width)
        for name, pairs in sets.items():
            result = evaluate(quantized, pairs, scale)
            row = _row(variant, _label(config), name, result, float_psnr[name], spent, seconds)
            yield common | row | {"dynamic": _dynamic(config), "simulated": _simulated(config)}

    if not float_psnr:
        for name, pairs in sets.items():
            result = evaluate(model, pairs, scale)
            float_psnr[name] = result.psnr
            spent = cost(model, height, width)
            row = _row("float", "W32A32", name, result, result.psnr, spent, 0.0)
            yield common | row | {"dynamic": "", "simulated": ""}
    wanted = [pair for pair in _by_statistics(variants, bits) if (pair[1], _label(pair[0])) not in known]
    observed: Calibration | None = None
    for config, variant in wanted:
        start = time.perf_counter()
        if observed is None or observed.config.observed != config.observed:
            observed = None  # freed before the next is made
            observed = calibrate(model, calibration, config)
            calibrating = time.perf_counter() - start
            start = time.perf_counter()
        quantized = quantize_model(model, observed, config)
        yield from score(variant, quantized, calibrating + time.perf_counter() - start)
    for quantized in trained:
        config = quantized.quant_config
        if (config.method, _label(config)) not in known:
            yield from score(config.method, quantized, "")


def _by_statistics(variants: Mapping[str, dict], bits: Sequence[int]) -> list[tuple[QuantConfig, str]]:
    """The configurations that can be, those that share statistics one after the other."""
    found: dict[tuple, list[tuple[QuantConfig, str]]] = {}
    for name, choice in variants.items():
        for b in bits:
            if name in STEPS and b not in FEW_BITS:
                continue
            try:
                config = QuantConfig(activation_bits=b, weight_bits=b, **choice)
            except ValueError:  # a microscaling format of other bits
                continue
            found.setdefault(config.observed, []).append((config, name))
    return [pair for group in found.values() for pair in group]


def _label(config: QuantConfig) -> str:
    return f"W{config.weight_bits}A{config.activation_bits}"


def _row(variant, bits, images, result: Evaluation, reference: float, spent: Cost, seconds) -> dict:
    return {
        "variant": variant,
        "bits": bits,
        "set": images,
        "psnr": round(result.psnr, 4),
        "ssim": round(result.ssim, 5),
        "drop": round(reference - result.psnr, 4),
        "weight_bits": round(spent.weight_bits, 3),
        "activation_bits": round(spent.activation_bits, 3),
        "kib": round(spent.bytes / 1024, 1),
        "gbitops": round(spent.bitops / 1e9, 1),
        "seconds": round(seconds, 2) if seconds != "" else "",
    }


def _dynamic(config: QuantConfig) -> str:
    """What is taken from each input: statistics for its normalization, or the scales a format prescribes."""
    if config.recipe.levels == "element":
        return "block scales"
    return "dynamic" if config.recipe.dynamic else "static"


def _simulated(config: QuantConfig) -> str:
    """What of it ordinary integer kernels do not run."""
    recipe, parts = config.recipe, []
    if recipe.dynamic:
        parts.append("normalization of each input")
    if recipe.levels in ("subset", "log2", "apot"):
        parts.append("activation levels off the uniform grid")
    if recipe.levels == "element":
        parts.append("blocks that share a scale")
    if recipe.weights in ("subset", "apot"):
        parts.append("weight levels off the uniform grid")
    if config.activation_bits not in (4, 8, FLOAT):
        parts.append(f"{config.activation_bits} bits")
    return ", ".join(parts)


def digest(model: nn.Module, sets: Mapping[str, Sequence[Pair]], calibration: torch.Tensor) -> str:
    """Tell runs on other weights, images or calibration apart."""
    tensors = [*model.state_dict().values(), calibration]
    tensors += [image for pairs in sets.values() for pair in pairs for image in (pair.lr, pair.hr)]
    return fingerprint(tensors)


def fingerprint(tensors: Iterable[torch.Tensor]) -> str:
    """Tell other values apart; 12 hexadecimal digits."""
    seen = hashlib.sha256()
    for tensor in tensors:
        seen.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()[:12]
