"""Post-training quantization of any network: configuration, methods, the quantized copy and its audit."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from core.calibration import RangeObserver, SubsetObserver, batches, observe
from core.point_selection import SELECTORS
from core.quantizers import quantize_weight
from core.scope import Layers, choose_layers, kind_of
from core.universal_set import UniversalSet

FLOAT = 32  # bits that mean "not quantized"
NEVER_CALLED = "never called during calibration"
BITS = (*range(2, 9), FLOAT)
MAX_MOMENTS_BYTES = 2**30  # of statistics held at once; more layers than that take further passes


@dataclasses.dataclass(frozen=True)
class QuantConfig:
    """Everything that decides a quantized network besides its weights and calibration images.

    bits: 2 to 8, or 32 for float. `universal_set`, `selector` and `seed` matter to "dfsq" alone. With
    selector="kmeans" it is DFSQ as published. Raises ValueError for anything outside.
    """

    method: str = "dfsq"
    activation_bits: int = 4
    weight_bits: int = 4
    universal_set: UniversalSet = dataclasses.field(default_factory=UniversalSet)
    selector: str = "exact"
    seed: int = 0

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"no method {self.method!r}; there are {', '.join(METHODS)}")
        if self.selector not in SELECTORS:
            raise ValueError(f"no selector {self.selector!r}; there are {', '.join(SELECTORS)}")
        for name in ("activation_bits", "weight_bits"):
            bits = getattr(self, name)
            if not isinstance(bits, int) or isinstance(bits, bool) or bits not in BITS:
                raise ValueError(f"{name} must be 2 to 8, or 32 for float, got {bits!r}")
        if not isinstance(self.seed, int):
            raise ValueError(f"seed must be a whole number, got {self.seed!r}")
        if not isinstance(self.universal_set, UniversalSet):
            raise ValueError(f"universal_set must be a UniversalSet, got {type(self.universal_set).__name__}")
        needed = 2**self.activation_bits if self.activation_bits != FLOAT else 0
        if self.method == "dfsq" and needed > len(self.universal_set):
            words, terms, size = self.universal_set.words, self.universal_set.terms, len(self.universal_set)
            raise ValueError(
                f"{self.activation_bits} bits need {needed} points but the universal set of words={words}, "
                f"terms={terms} has {size}; take more words or terms, or fewer bits"
            )

    def __str__(self) -> str:
        selector = f"-{self.selector}" if self.method == "dfsq" else ""
        return f"{self.method}{selector} W{self.weight_bits}A{self.activation_bits}"


Observer = RangeObserver | SubsetObserver


class Method(NamedTuple):
    """How a method quantizes: `activation(config, channel_dim)` -> observer, `weight(w, bits, dim)` -> w."""

    activation: Callable[[QuantConfig, int], Observer]
    weight: Callable[[torch.Tensor, int, int], torch.Tensor]


def _subset(config: QuantConfig, channel_dim: int) -> SubsetObserver:
    return SubsetObserver(config.universal_set, channel_dim)


METHODS: dict[str, Method] = {
    "dfsq": Method(_subset, quantize_weight),
    "minmax": Method(lambda config, dim: RangeObserver("minmax", dim), quantize_weight),
    "percentile": Method(lambda config, dim: RangeObserver("percentile", dim), quantize_weight),
}


@dataclasses.dataclass(frozen=True)
class AuditRow:
    """One layer of a network: its bits (32 = float) and how, or why not, it is quantized."""

    name: str
    type: str
    weight_shape: tuple[int, ...]
    method: str
    weight_bits: int
    activation_bits: int
    post_relu: bool | None
    reason: str  # empty for a quantized layer


class Audit(list):
    """A list of AuditRow that prints as a table."""

    def __str__(self) -> str:
        head = ("layer", "type", "weight", "method", "bits", "input", "")
        body = [
            (
                row.name,
                row.type,
                "x".join(map(str, row.weight_shape)),
                row.method,
                "float" if row.reason else f"W{row.weight_bits}A{row.activation_bits}",
                {True: "post-ReLU", False: "signed", None: ""}[row.post_relu],
                row.reason,
            )
            for row in self
        ]
        widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in (head, *body)
        ]
        return "\n".join(lines)


class Calibration(NamedTuple):
    """What was learned from the images: an observer per layer, and why other layers stay float.

    One calibration serves every number of bits, selector and seed, and every choice among its layers.
    """

    config: QuantConfig
    observers: dict[str, Observer]
    reasons: dict[str, str]


def calibrate(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    config: QuantConfig,
    layers: Layers = None,
    progress: Callable[[int], None] = lambda images_done: None,
) -> Calibration:
    """Observe the layers to be quantized while the float network runs on the images.

    Keeps the statistics of all layers at once; `quantize_model` on images bounds that memory.
    """
    reference = _float_copy(model).eval()
    first, images = _peek(images)
    names, reasons = choose_layers(reference, layers, first)
    return _calibrate(reference, images, config, names, reasons, progress)


def quantize_model(
    model: nn.Module,
    calibration: torch.Tensor | Iterable[torch.Tensor] | Calibration,
    config: QuantConfig,
    layers: Layers = None,
    progress: Callable[[int], None] = lambda images_done: None,
) -> nn.Module:
    """Return a quantized copy of `model`; the original is left as it is.

    calibration: LR images (N, 3, H, W) in [0, 1], an iterable of such, or what `calibrate` returned.
    layers: a predicate `layers(name, module)` over named_modules(), or a list of names (ValueError for an
    unknown one); by default what the model class declares (`quantized_scope`), else every Conv2d but the
    first and the last one called. What cannot be quantized stays float, with its reason in `audit`.
    Zero padding stays a real 0: activations are mapped before they are padded. `progress(images_done)` may
    raise to cancel; it starts again where memory asks for another pass.
    """
    quantized = _float_copy(model)
    reasons: dict[str, str] = {}
    for part in _parts(model, calibration, config, layers, progress):
        reasons |= part.reasons
        for name in list(part.observers):
            # Popped from a calibration of our own, so that its moments are freed at once.
            keep = isinstance(calibration, Calibration)
            _attach(quantized, name, part.observers[name] if keep else part.observers.pop(name), config)
    quantized.float_reasons = reasons
    return quantized


def _parts(model, calibration, config, layers, progress) -> Iterator[Calibration]:
    """The calibration to quantize from, cut so that each part's statistics fit in memory."""
    if isinstance(calibration, Calibration):
        yield _restricted(model, calibration, config, layers)
        return
    reference = _float_copy(model).eval()
    first, images = _peek(calibration)
    names, reasons = choose_layers(reference, layers, first)
    groups = _groups(reference, names, config)
    if len(groups) > 1 and iter(images) is images:
        images = list(images)  # a generator runs once, but several passes are needed
    for group in groups:
        yield _calibrate(reference, images, config, group, reasons, progress)


def _float_copy(model: nn.Module) -> nn.Module:
    if any(hasattr(module, "quantization") for module in model.modules()):
        raise ValueError("the model is quantized already; quantize the float model instead")
    return copy.deepcopy(model)


def _peek(images) -> tuple[torch.Tensor, Iterable[torch.Tensor]]:
    """The first image, and the images with none lost, also of a generator."""
    if isinstance(images, torch.Tensor):
        return next(batches(images))[:1], images
    if iter(images) is not images:
        return next(batches(images))[:1], images
    head = list(itertools.islice(images, 1))
    return next(batches(head))[:1], itertools.chain(head, images)


def _calibrate(reference, images, config, names, reasons, progress) -> Calibration:
    make = METHODS[config.method].activation
    observers = {n: make(config, kind_of(reference.get_submodule(n)).input_dim) for n in names}
    ran = observe(reference, images, observers, progress)
    silent = {n: NEVER_CALLED for n in names if n not in ran}
    return Calibration(config, {n: o for n, o in observers.items() if n in ran}, reasons | silent)


def _restricted(model, calibration: Calibration, config: QuantConfig, layers: Layers) -> Calibration:
    """`calibration` with only the chosen layers."""
    differ = [f for f in ("method", "universal_set") if getattr(calibration.config, f) != getattr(config, f)]
    if differ:
        raise ValueError(f"the calibration was made for another {' and '.join(differ)}; calibrate again")
    strange = calibration.observers.keys() - dict(model.named_modules()).keys()
    if strange:
        raise ValueError(
            f"the calibration is of another network: this one has no {', '.join(sorted(strange))}"
        )
    if layers is None:
        return calibration
    names, reasons = choose_layers(model, layers, None)
    silent = {n: NEVER_CALLED for n in names if calibration.reasons.get(n) == NEVER_CALLED}
    missing = [n for n in names if n not in calibration.observers and n not in silent]
    if missing:
        raise ValueError(f"the calibration does not cover {', '.join(missing)}; calibrate with these layers")
    observers = {n: o for n, o in calibration.observers.items() if n in names}
    return Calibration(config, observers, reasons | silent)


def _groups(model: nn.Module, names: list[str], config: QuantConfig) -> list[list[str]]:
    """Cut the layers into groups whose moments fit in MAX_MOMENTS_BYTES."""
    if config.method != "dfsq":
        return [names]
    # Two normalizations, three statistics of 8 bytes, four cells a step.
    per_channel = 2 * 3 * 8 * 4 / config.universal_set.step
    groups: list[list[str]] = [[]]
    held = 0.0
    for name in names:
        module = model.get_submodule(name)
        channels = getattr(module, "in_channels", None) or module.in_features
        if groups[-1] and held + channels * per_channel > MAX_MOMENTS_BYTES:
            groups.append([])
            held = 0.0
        groups[-1].append(name)
        held += channels * per_channel
    return groups


class LayerQuantization(NamedTuple):
    """What was done to a layer; `audit` reads it."""

    method: str
    weight_bits: int
    activation_bits: int
    post_relu: bool


def _attach(model: nn.Module, name: str, observer: Observer, config: QuantConfig) -> None:
    """Quantize one layer of the copy in place: its weight now, its input at every call."""
    module = model.get_submodule(name)
    if config.weight_bits != FLOAT:
        if not torch.isfinite(module.weight).all():
            raise ValueError(f"the weight of {name} holds NaN or infinity")
        rounded = METHODS[config.method].weight(
            module.weight.detach(), config.weight_bits, kind_of(module).weight_dim
        )
        # A new parameter: where a weight is shared, the other layer decides for itself.
        module.weight = nn.Parameter(rounded, requires_grad=module.weight.requires_grad)
    if config.activation_bits != FLOAT:
        quantizer = observer.quantizer(config).to(module.weight.device)
        module.activation_quantizer = quantizer.train(module.training)
        module.register_forward_pre_hook(_quantize_input, with_kwargs=True)
    module.quantization = LayerQuantization(
        config.method, config.weight_bits, config.activation_bits, observer.post_relu
    )


def _quantize_input(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Forward hook: the layer's first argument goes through its activation quantizer."""
    if args:
        return (module.activation_quantizer(args[0]), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, kwargs | {name: module.activation_quantizer(kwargs[name])}


def audit(model: nn.Module) -> Audit:
    """Every layer with weights: its bits and method, or why it stays float. Prints as a table."""
    reasons = getattr(model, "float_reasons", {})
    rows = Audit()
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")
        done = getattr(module, "quantization", None)
        if done is None and kind_of(module) is None and name not in reasons:
            continue
        shape = tuple(weight.shape) if weight is not None else ()
        if done is None:
            reason = reasons.get(name, "the model is not quantized")
            rows.append(AuditRow(name, type(module).__name__, shape, "", FLOAT, FLOAT, None, reason))
        else:
            rows.append(AuditRow(name, type(module).__name__, shape, *done, ""))
    return rows


def is_dynamic(model: nn.Module) -> bool:
    """True if a quantizer takes its normalization from each input.

    Then the picture of a crop or tile is not a part of the picture of the whole.
    """
    return any(getattr(module, "dynamic", False) for module in model.modules())
