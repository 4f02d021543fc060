"""Post-training quantization of any network: calibrate, and the quantized copy."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from core.networks.folding import fold_parametrizations
from core.networks.held_weights import hold_written, settle
from core.ptq.audit import LayerQuantization, is_quantized
from core.ptq.calibration import HALF, batches, observe, undisturbed
from core.ptq.compensation import compensate, gather
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.methods import TRAINED
from core.ptq.observers import Observer, observer_of
from core.ptq.rounding import rounded_rows
from core.ptq.scope import Layers, channel_dim_of, choose_layers, input_channels, scope_of
from core.ptq.weight_levels import note_levels
from core.quantizers.weights import from_rows, weight_rows
from core.utils.progress import Progress

NEVER_CALLED = "never called during calibration"
MAX_MOMENTS_BYTES = 2**30  # of statistics held at once; more layers than that take further passes


class Calibration(NamedTuple):
    """What was learned from the images: an observer per layer, and why other layers stay float.

    One calibration serves every number of bits, selector and seed, and every choice among its layers. It
    keeps the images where they are one tensor or the configuration refines the weights, else the first.
    """

    config: QuantConfig
    observers: dict[str, Observer]
    reasons: dict[str, str]
    images: torch.Tensor | Iterable[torch.Tensor] | None = None
    first: torch.Tensor | None = None


def calibrate(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    config: QuantConfig,
    layers: Layers = None,
    progress: Progress = lambda what, share: None,
) -> Calibration:
    """Observe the layers to be quantized while the float network runs on the images.

    Keeps the statistics of all layers at once; `quantize_model` on images bounds that memory.
    """
    first, images = peek(images)
    if config.recipe.refine and iter(images) is images:
        images = list(images)
    with undisturbed(model):
        reference = _float_copy(model).eval()
        names, reasons = choose_layers(reference, layers, first)
        return _calibrate(reference, images, config, names, reasons, progress)._replace(first=first)


def quantize_model(
    model: nn.Module,
    calibration: torch.Tensor | Iterable[torch.Tensor] | Calibration,
    config: QuantConfig,
    layers: Layers = None,
    progress: Progress = lambda what, share: None,
) -> nn.Module:
    """Return a quantized copy of `model`; the original is left as it is.

    calibration: LR images (N, 3, H, W) in [0, 1], an iterable of such, or what `calibrate` returned.
    layers: a predicate `layers(name, module)` over named_modules(), or a list of names (ValueError for an
    unknown one); by default what the model class declares (`quantized_scope`), also that of a network inside
    a wrapper, else every Conv2d but the first and the last learned one called. What cannot be quantized stays
    float, with its reason in `audit`. Re-parameterized weights (weight norm and the like) are folded first;
    of what torch.compile returned, the network inside is quantized. Weights that the network writes anew in
    its forward keep their quantized values; ValueError with the layers' names where that cannot be.
    Zero padding stays a real 0: activations are mapped before they are padded. `progress(what, share)` may
    raise to cancel.
    """
    with undisturbed(model):
        copies = _float_copy(model).eval(), _float_copy(model)
        return _quantize(*copies, calibration, config, layers, progress)


def _quantize(reference: nn.Module, quantized: nn.Module, calibration, config, layers, progress) -> nn.Module:
    """`quantize_model`, in place of one of two copies."""
    if isinstance(calibration, Calibration):
        first = _first_of(calibration)
    else:
        first, calibration = peek(calibration)
    settle(quantized, first)
    reasons: dict[str, str] = {}
    wanted_float = config.activation_bits == config.weight_bits == FLOAT
    names: list[str] = []
    images = None
    for part in _parts(reference, calibration, config, layers, progress):
        reasons |= part.reasons
        images = part.images
        if wanted_float:
            reasons |= dict.fromkeys(part.observers, "float by configuration (W32A32)")
            continue
        names += part.observers
        for name in list(part.observers):
            # Popped from a calibration of our own, so that its moments are freed at once.
            keep = isinstance(calibration, Calibration)
            _attach(quantized, name, part.observers[name] if keep else part.observers.pop(name), config)
    if names and config.recipe.refine:
        _refine(reference, quantized, names, images, config, progress)
    if config.weight_bits != FLOAT or config.recipe.refine:
        hold_written(quantized, names, first)
    note_levels(quantized)
    quantized.float_reasons, quantized.quant_config = reasons, config
    quantized.scope_in_words = scope_of(quantized, layers)
    if not wanted_float and not is_quantized(quantized):
        warnings.warn("no layer is quantized; audit(model) says why", stacklevel=3)
    return quantized


def _first_of(calibration: Calibration) -> torch.Tensor:
    """An image on which the network runs."""
    if calibration.first is not None or calibration.images is not None:
        return peek(calibration.first if calibration.images is None else calibration.images)[0]
    return torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def _parts(reference, calibration, config, layers, progress) -> Iterator[Calibration]:
    """The calibration to quantize from, cut so that each part's statistics fit in memory."""
    if isinstance(calibration, Calibration):
        yield _restricted(reference, calibration, config, layers)
        return
    first, images = peek(calibration)
    names, reasons = choose_layers(reference, layers, first)
    groups = layer_groups(reference, names, config)
    if (len(groups) > 1 or config.recipe.refine) and iter(images) is images:
        images = list(images)  # a generator runs once, but several passes are needed
    for done, group in enumerate(groups):

        def tell(what: str, share: float, done: int = done) -> None:
            progress(what, (done + share) / len(groups))

        yield _calibrate(reference, images, config, group, reasons, tell)


def _float_copy(model: nn.Module) -> nn.Module:
    if is_quantized(model):
        raise ValueError("the model is quantized already; quantize the float model instead")
    if not any(channel_dim_of(module) for module in model.modules()):
        raise ValueError(
            f"{type(model).__name__} holds no Conv2d, ConvTranspose2d or Linear, as graphs that were traced "
            "or exported; quantize the network that it was made from"
        )
    return fold_parametrizations(model).to(memory_format=torch.contiguous_format)


def peek(images) -> tuple[torch.Tensor, Iterable[torch.Tensor]]:
    """The first image, and the images with none lost, also of a generator."""
    if isinstance(images, torch.Tensor):
        return next(batches(images))[:1], images
    if iter(images) is not images:
        return next(batches(images))[:1], images
    head = list(itertools.islice(images, 1))
    return next(batches(head))[:1], itertools.chain(head, images)


def _calibrate(reference, images, config, names, reasons, progress) -> Calibration:
    observers = observe_part(reference, images, config, names, progress)
    for observer in observers.values():
        observer.finish()
    silent = {n: NEVER_CALLED for n in names if n not in observers}
    kept = images if config.recipe.refine or isinstance(images, torch.Tensor) else None
    return Calibration(config, observers, reasons | silent, kept)


def observe_part(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    config: QuantConfig,
    names: Iterable[str],
    progress: Progress = lambda what, share: None,
) -> dict[str, Observer]:
    """Return observers of those of the named layers that ran; those of other images can be merged into them.

    ValueError for a method that is learned in training.
    """
    if config.method in TRAINED:
        raise ValueError(f"{config.method} is learned in training, not calibrated: use python -m core odm")
    observers = {n: observer_of(config, channel_dim_of(model.get_submodule(n))) for n in names}
    ran = observe(model, images, observers, progress)
    return {n: o for n, o in observers.items() if n in ran}


def _restricted(model, calibration: Calibration, config: QuantConfig, layers: Layers) -> Calibration:
    """`calibration` with only the chosen layers."""
    made_for = calibration.config
    if config.activation_bits != FLOAT:
        if made_for.activation_bits == FLOAT:
            raise ValueError(
                "the calibration was made for float activations; calibrate again with 2 to 8 bits"
            )
        if made_for.observed != config.observed:
            raise ValueError(
                f"the calibration was made for {_in_words(made_for)}, not for {_in_words(config)}; "
                "calibrate again"
            )
    if config.recipe.refine and calibration.images is None:
        raise ValueError(f"the calibration keeps no images to refine the weights on; calibrate for {config}")
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
    return calibration._replace(config=config, observers=observers, reasons=reasons | silent)


def _in_words(config: QuantConfig) -> str:
    """What `config.observed` is about."""
    kind, *settings = config.observed
    if kind not in ("image", "block"):
        return f"{kind} ranges" if kind in ("static", "percentile") else f"normalization {kind!r}"
    block, side_bits, step = settings
    side = f" of {block} pixels" if block else ""
    return (
        f"normalization {kind!r}{side}, {side_bits} bits of side information, a grid of 1/{round(1 / step)}"
    )


def layer_groups(
    model: nn.Module, names: list[str], config: QuantConfig, most_bytes: int | None = None
) -> list[list[str]]:
    """Cut the layers into groups whose moments fit in so many bytes, MAX_MOMENTS_BYTES by default."""
    if config.observed[0] not in ("image", "block"):
        return [names]
    # Two normalizations, three statistics of 8 bytes, four cells a step.
    per_channel = 2 * 3 * 8 * 4 / config.universal_set.step
    groups: list[list[str]] = [[]]
    most_bytes, held = most_bytes or MAX_MOMENTS_BYTES, 0.0
    for name in names:
        channels = input_channels(model.get_submodule(name))
        if groups[-1] and held + channels * per_channel > most_bytes:
            groups.append([])
            held = 0.0
        groups[-1].append(name)
        held += channels * per_channel
    return groups


def _attach(model: nn.Module, name: str, observer: Observer, config: QuantConfig) -> None:
    """Quantize one layer of the copy in place: its weight now, its input at every call."""
    module = model.get_submodule(name)
    if config.weight_bits != FLOAT or config.recipe.refine:
        if not torch.isfinite(module.weight).all():
            raise ValueError(f"the weight of {name} holds NaN or infinity")
        rows = weight_rows(module)
        rows = rows.float() if rows.dtype in HALF else rows
        if not config.recipe.refine:  # they round the weights themselves, once every layer has its quantizer
            rows = rounded_rows(rows, module, config)[1]
        # A new parameter: where a weight is shared, the other layer decides for itself.
        own = from_rows(rows, module).to(module.weight, copy=True)
        module.weight = nn.Parameter(own, requires_grad=module.weight.requires_grad)
    if config.activation_bits != FLOAT:
        attach_quantizer(module, observer.quantizer(config))
    module.quantization = LayerQuantization(
        config.method, config.weight_bits, config.activation_bits, observer.post_relu
    )


def _refine(reference, quantized, names, images, config: QuantConfig, progress: Progress) -> None:
    """What `config.recipe.refine` asks for, in place; the audit and the activations stay as they are."""
    moments = gather(reference, quantized, names, images, config.seed, progress)
    for done, name in enumerate(names):
        progress("Rounding weights", done / len(names))
        rows = weight_rows(reference.get_submodule(name))
        compensate(quantized.get_submodule(name), rows, moments[name], config)


def attach_quantizer(module: nn.Module, quantizer: nn.Module) -> None:
    """Let the layer's first argument go through the activation quantizer at every call."""
    module.activation_quantizer = quantizer.to(module.weight.device).train(module.training)
    module.register_forward_pre_hook(_quantize_input, with_kwargs=True)


def _quantize_input(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Forward hook: the layer's first argument goes through its activation quantizer."""
    if args:
        return (module.activation_quantizer(args[0]), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, kwargs | {name: module.activation_quantizer(kwargs[name])}
