"""Post-training quantization of any network: calibration and the quantized copy."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from core.networks.folding import fold_parametrizations
from core.networks.held_weights import hold_written, settle
from core.networks.running import warn_unless_steady
from core.ptq.audit import LayerQuantization, is_quantized
from core.ptq.calibrated import NEVER_CALLED, Calibration, check_names, restricted
from core.ptq.calibration import HALF, Watch, batches, observe, undisturbed, unwatched
from core.ptq.compensation import compensate, gather
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.methods import TRAINED
from core.ptq.observers import Observer, observer_of
from core.ptq.rounding import rounded_rows
from core.ptq.scope import (
    Layers,
    channel_dim_of,
    check_layers,
    choose_layers,
    has_weights,
    input_channels,
    scope_of,
)
from core.ptq.weight_levels import note_levels
from core.quantizers.weights import from_rows, weight_rows
from core.utils.progress import Progress

MAX_MOMENTS_BYTES = 2**30  # memory for statistics; layers beyond it are calibrated in further passes


def calibrate(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    config: QuantConfig,
    layers: Layers = None,
    progress: Progress = lambda what, share: None,
    watch: Watch = unwatched,
) -> Calibration:
    """Observe the layers to be quantized while the float network runs on the images.

    All statistics are kept in memory at once; `quantize_model` on images limits that memory. `watch(name,
    x, images)` gets every layer's input and the number of images in it too, for other statistics of the same
    pass. Other arguments and errors as for
    `quantize_model`.

    >>> import torch
    >>> from core import QuantConfig, calibrate, create_model, quantize_model
    >>> model, images = create_model("xlsr", 3), torch.rand(2, 3, 24, 24)
    >>> calibration = calibrate(model, images, QuantConfig("minmax"), ["conv2"])
    >>> for bits in (2, 3):  # one calibration serves every number of bits
    ...     quantized = quantize_model(model, calibration, QuantConfig("minmax", bits, bits))
    ...     print(bits, "bits:", max(len(row.unique()) for row in quantized.conv2.weight), "levels")
    2 bits: 4 levels
    3 bits: 8 levels
    """
    check_layers(model)
    first, images = peek(images)
    if config.recipe.refine and iter(images) is images:
        images = list(images)
    with undisturbed(model):
        reference = _float_copy(model).eval()
        names, reasons = choose_layers(reference, layers, first)
        made = _calibrate(reference, images, config, names, reasons, progress, watch)
        return made._replace(first=first)


def quantize_model(
    model: nn.Module,
    calibration: torch.Tensor | Iterable[torch.Tensor] | Calibration,
    config: QuantConfig,
    layers: Layers = None,
    progress: Progress = lambda what, share: None,
) -> nn.Module:
    """Return a quantized copy of `model`; the original is unchanged.

    calibration: LR images (N, 3, H, W) in [0, 1], an iterable of such, or the result of `calibrate`. layers:
    a predicate `layers(name, module)` over named_modules(), or a list of names (ValueError for an unknown
    one). By default the scope that the model class declares (`quantized_scope`) is quantized, also inside a
    wrapper, else every Conv2d but the first and the last learned one that is called. Other layers stay float,
    with the reason in `audit`. Re-parameterized weights (weight norm and the like) are folded first; for a
    compiled network, the network inside is quantized. Weights that the network overwrites in its forward keep
    their quantized values; ValueError with the layers' names if they cannot. Zero padding stays a real 0:
    activations are quantized before they are padded. `progress(what, share)` may raise to cancel.

    >>> import torch
    >>> from core import QuantConfig, create_model, quantize_model
    >>> model, images = create_model("xlsr", 3), torch.rand(2, 3, 24, 24)
    >>> quantized = quantize_model(model, images, QuantConfig("dfsq-exact", 4, 4))
    >>> quantized(images).shape
    torch.Size([2, 3, 72, 72])
    """
    check_layers(model)
    with undisturbed(model):
        quantized = _float_copy(model)
        runs_float = config.recipe.refine or not isinstance(calibration, Calibration)
        reference = _float_copy(model).eval() if runs_float else quantized
        return _quantize(reference, quantized, calibration, config, layers, progress)


def _quantize(reference: nn.Module, quantized: nn.Module, calibration, config, layers, progress) -> nn.Module:
    """Quantize the second of two copies in place; see `quantize_model`. The first one is run in float."""
    if isinstance(calibration, Calibration):
        first = _first_of(calibration)
    else:
        first, calibration = peek(calibration)
    warn_unless_steady(quantized, settle(quantized, first), settle(quantized, first))
    reasons: dict[str, str] = {}
    keeps_float = config.float_activations and config.float_weights
    names: list[str] = []
    images = None
    for part in _parts(reference, calibration, config, layers, progress):
        reasons |= part.reasons
        images = part.images
        for name in list(part.observers):
            own = config.for_layer(name)
            bits = {own.activation_bits}
            if has_weights(reference.get_submodule(name)):
                bits.add(own.weight_bits)
            if bits == {FLOAT}:
                reasons[name] = "float by configuration (W32A32)"
                continue
            names.append(name)
            # The caller's calibration is kept; from one made here layers are popped, to free their moments.
            keep = isinstance(calibration, Calibration)
            _attach(quantized, name, part.observers[name] if keep else part.observers.pop(name), own)
    weighted = [name for name in names if has_weights(quantized.get_submodule(name))]
    if weighted and config.recipe.refine:
        _refine(reference, quantized, weighted, images, config, progress)
    if not config.float_weights or config.recipe.refine:
        hold_written(quantized, weighted, first)
    note_levels(quantized)
    quantized.float_reasons, quantized.quant_config = reasons, config
    quantized.scope_in_words = scope_of(quantized, layers)
    if not keeps_float and not is_quantized(quantized):
        warnings.warn("no layer is quantized; audit(model) says why", stacklevel=3)
    return quantized


def _first_of(calibration: Calibration) -> torch.Tensor:
    """Return an image on which the network runs."""
    if calibration.first is not None or calibration.images is not None:
        return peek(calibration.first if calibration.images is None else calibration.images)[0]
    return torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def _parts(reference, calibration, config, layers, progress) -> Iterator[Calibration]:
    """Yield the calibration in parts whose statistics each fit in memory."""
    if isinstance(calibration, Calibration):
        yield restricted(reference, calibration, config, layers)
        return
    first, images = peek(calibration)
    names, reasons = choose_layers(reference, layers, first)
    check_names(config, names, reasons)
    groups = layer_groups(reference, names, config)
    if (len(groups) > 1 or config.recipe.refine) and iter(images) is images:
        images = list(images)  # a generator can be read only once, and several passes are needed
    for done, group in enumerate(groups):

        def tell(what: str, share: float, done: int = done) -> None:
            progress(what, (done + share) / len(groups))

        yield _calibrate(reference, images, config, group, reasons, tell)


def _float_copy(model: nn.Module) -> nn.Module:
    if is_quantized(model):
        raise ValueError("the model is quantized already; quantize the float model instead")
    return fold_parametrizations(model).to(memory_format=torch.contiguous_format)


def peek(images) -> tuple[torch.Tensor, Iterable[torch.Tensor]]:
    """Return the first image and all images; also a generator then loses none."""
    if isinstance(images, torch.Tensor):
        return next(batches(images))[:1], images
    if iter(images) is not images:
        return next(batches(images))[:1], images
    head = list(itertools.islice(images, 1))
    return next(batches(head))[:1], itertools.chain(head, images)


def _calibrate(reference, images, config, names, reasons, progress, watch=unwatched) -> Calibration:
    observers = observe_part(reference, images, config, names, progress, watch)
    for observer in observers.values():
        observer.finish()
    never_called = {n: NEVER_CALLED for n in names if n not in observers}
    kept = images if config.recipe.refine or iter(images) is not images else None
    return Calibration(config, observers, reasons | never_called, kept)


def observe_part(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    config: QuantConfig,
    names: Iterable[str],
    progress: Progress = lambda what, share: None,
    watch: Watch = unwatched,
) -> dict[str, Observer]:
    """Return observers of the named layers that ran; observers of other images can be merged into them.

    `watch`: as for `calibrate`. ValueError for a method that is learned in training.
    """
    if config.method in TRAINED:
        raise ValueError(f"{config.method} is learned in training, not calibrated: use python -m core odm")
    observers = {n: observer_of(config, channel_dim_of(model.get_submodule(n))) for n in names}
    ran = observe(model, images, observers, progress, watch)
    return {n: o for n, o in observers.items() if n in ran}


def layer_groups(
    model: nn.Module, names: list[str], config: QuantConfig, most_bytes: int | None = None
) -> list[list[str]]:
    """Cut the layers into groups whose moments fit in `most_bytes`, MAX_MOMENTS_BYTES by default."""
    if config.observed[0] not in ("image", "block"):
        return [names]
    # 2 normalizations, 3 statistics of 8 bytes, and 4 / step half-grid cells.
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
    weight_bits = config.weight_bits if has_weights(module) else FLOAT
    if weight_bits != FLOAT or (config.recipe.refine and has_weights(module)):
        if not torch.isfinite(module.weight).all():
            raise ValueError(f"the weight of {name} holds NaN or infinity")
        rows = weight_rows(module)
        rows = rows.float() if rows.dtype in HALF else rows
        if not config.recipe.refine:  # refinements round the weights later, when all layers have quantizers
            rows = rounded_rows(rows, module, config)[1]
        # A new parameter: if the weight is shared, the other layer keeps its own.
        own = from_rows(rows, module).to(module.weight, copy=True)
        module.weight = nn.Parameter(own, requires_grad=module.weight.requires_grad)
    if config.activation_bits != FLOAT:
        attach_quantizer(module, observer.quantizer(config).to(next(model.parameters()).device))
    module.quantization = LayerQuantization(
        config.method, weight_bits, config.activation_bits, observer.post_relu
    )


def _refine(reference, quantized, names, images, config: QuantConfig, progress: Progress) -> None:
    """Refine the weights by the steps of `config.recipe.refine`, in place."""
    moments = gather(reference, quantized, names, images, config.seed, progress)
    for done, name in enumerate(names):
        progress("Rounding weights", done / len(names))
        rows = weight_rows(reference.get_submodule(name))
        compensate(quantized.get_submodule(name), rows, moments[name], config.for_layer(name))


def attach_quantizer(module: nn.Module, quantizer: nn.Module) -> None:
    """Quantize the layer's first argument by the activation quantizer at every call."""
    quantizer = quantizer.to(module.weight.device) if has_weights(module) else quantizer
    module.activation_quantizer = quantizer.train(module.training)
    module.register_forward_pre_hook(_quantize_input, with_kwargs=True)


def _quantize_input(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Apply the layer's activation quantizer to its first argument (a forward pre-hook)."""
    if args:
        return (module.activation_quantizer(args[0]), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, kwargs | {name: module.activation_quantizer(kwargs[name])}
