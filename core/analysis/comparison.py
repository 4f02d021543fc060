"""Compare every method on one network under one protocol, one row each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from core.analysis.cost import Cost, cost
from core.analysis.evaluation import Evaluation, evaluate
from core.images import Pair
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.methods import METHODS, REFINEMENTS
from core.ptq.quantize import Calibration, calibrate, quantize_model

# Every method under its name, and variants that differ from a method in a single choice.
VARIANTS: dict[str, dict] = {name: {"method": name} for name in METHODS} | {
    "daq, deviations of 8 bits": {"method": "daq", "side_bits": 8},
}
# Variants of the table "What is each ingredient worth?" that are no named method; all have dfsq+'s weights.
FEW_BITS = (4, 2)  # the bits at which ingredients and ablation are measured
INGREDIENTS: dict[str, dict] = {
    "dfsq+, per tensor": {"method": "dfsq+", "normalization": "tensor"},
    "dfsq+, per channel": {"method": "dfsq+", "normalization": "channel"},
    "uniform+, per channel": {"method": "uniform+", "normalization": "channel"},
    "dfsq+block, 8 bits of side information": {"method": "dfsq+block", "side_bits": 8},
    "dfsq+, weights from the set": {"method": "dfsq+", "weights": "subset"},
}
# normalization -> the variants with points of the universal set and with uniform levels
INGREDIENT_TABLE = {
    "per tensor, constant": ("dfsq+, per tensor", "mse+"),
    "per channel, constant": ("dfsq+, per channel", "uniform+, per channel"),
    "per channel and image (DFSQ's)": ("dfsq+", "uniform+"),
    "per block of 8×8": ("dfsq+block", "uniform+block"),
}
# dfsq+ built up from dfsq: each step includes those before it.
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


class Benchmark(NamedTuple):
    """What every variant is measured on; texts: "network", "question", "draw" and SHARED_TEXTS of rows."""

    sets: Mapping[str, Sequence[Pair]]
    calibration: torch.Tensor
    texts: Mapping[str, str]


class Improve(NamedTuple):
    """A step that makes of a quantized network a better one, such as tuned ranges.

    fits: whether it takes networks of a configuration. run: float network, quantized network, calibration
    images -> the better network.
    """

    name: str
    fits: Callable[[QuantConfig], bool]
    run: Callable[[nn.Module, nn.Module, torch.Tensor], nn.Module]


def rows(
    model: nn.Module,
    benchmark: Benchmark,
    variants: Mapping[str, dict],
    bits: Sequence[int],
    done: Sequence[dict] = (),
    trained: Sequence[nn.Module] = (),
    improve: Improve | None = None,
) -> Iterator[dict]:
    """Yield one row per variant, bits and set, the float network first; rows in `done` are skipped.

    trained: networks that were quantized in training, scored as they are. done: rows of the same question,
    for all sets. improve: what is done with the variants that it fits, scored beside them. Variants in a
    format that does not have the bits are left out.
    """
    sets, calibration, common = benchmark.sets, benchmark.calibration, dict(benchmark.texts)
    scale = model.scale
    height, width = (n // scale for n in HR_PIXELS)
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

    def asked(config: QuantConfig, variant: str) -> list[bool]:
        """Whether the variant, and its improvement, are to be scored."""
        fits = improve is not None and improve.fits(config)
        names = (variant, f"{variant}, {improve.name}" if fits else None)
        return [name is not None and (name, _label(config)) not in known for name in names]

    wanted = [pair for pair in _by_statistics(variants, bits) if any(asked(*pair))]
    observed: Calibration | None = None
    for config, variant in wanted:
        start = time.perf_counter()
        if observed is None or observed.config.observed != config.observed:
            observed = None  # frees its memory before the next calibration
            observed = calibrate(model, calibration, config)
            calibrating = time.perf_counter() - start
            start = time.perf_counter()
        quantized = quantize_model(model, observed, config)
        itself, better = asked(config, variant)
        if itself:
            yield from score(variant, quantized, calibrating + time.perf_counter() - start)
        if better:
            start = time.perf_counter()
            improved = improve.run(model, quantized, calibration)
            yield from score(f"{variant}, {improve.name}", improved, time.perf_counter() - start)
    for quantized in trained:
        config = quantized.quant_config
        if (config.method, _label(config)) not in known:
            yield from score(config.method, quantized, "")


def _by_statistics(variants: Mapping[str, dict], bits: Sequence[int]) -> list[tuple[QuantConfig, str]]:
    """List the valid configurations; those that share statistics follow each other."""
    found: dict[tuple, list[tuple[QuantConfig, str]]] = {}
    for name, choice in variants.items():
        for b in bits:
            if name in STEPS and b not in FEW_BITS:
                continue
            try:
                config = QuantConfig(activation_bits=b, weight_bits=b, **choice)
            except ValueError:  # a microscaling format without these bits
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
    """Say what is taken from each input: statistics to normalize by, or the scales a format prescribes."""
    if config.recipe.levels == "element":
        return "block scales"
    return "dynamic" if config.recipe.dynamic else "static"


def _simulated(config: QuantConfig) -> str:
    """Say which parts of the configuration ordinary integer kernels cannot run."""
    recipe, parts = config.recipe, []
    if recipe.dynamic:
        parts.append("normalization of each input")
    if recipe.levels in ("subset", "log2", "apot", "piecewise"):
        parts.append("activation levels off the uniform grid")
    if recipe.levels == "element":
        parts.append("blocks that share a scale")
    if recipe.weights in ("subset", "apot"):
        parts.append("weight levels off the uniform grid")
    bits = {config.activation_bits, *(activation for _, _, activation in config.layer_bits)}
    odd = sorted(bits - {4, 8, FLOAT})
    if odd:
        parts.append(f"{', '.join(map(str, odd))} bits")
    return ", ".join(parts)


def digest(model: nn.Module, sets: Mapping[str, Sequence[Pair]], calibration: torch.Tensor) -> str:
    """Return 12 hexadecimal digits that differ for other weights, images or calibration."""
    tensors = [*model.state_dict().values(), calibration]
    tensors += [image for pairs in sets.values() for pair in pairs for image in (pair.lr, pair.hr)]
    return fingerprint(tensors)


def fingerprint(tensors: Iterable[torch.Tensor]) -> str:
    """Return 12 hexadecimal digits that differ for other values."""
    seen = hashlib.sha256()
    for tensor in tensors:
        seen.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()[:12]
