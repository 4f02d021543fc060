"""The cost of a network: bytes of weights and codebooks, bit operations of a forward, effective bits."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from core.networks.folding import fold_parametrizations
from core.networks.products import Product
from core.networks.running import run
from core.ptq.audit import NOMINAL, audit
from core.ptq.config import FLOAT
from core.ptq.rounding import stored_weight_bits
from core.ptq.scope import channel_dim_of, has_weights
from core.ptq.weight_levels import module_bits, quantization_of
from core.quantizers.normalization import is_single
from core.quantizers.pams import is_residual

FLOAT_BYTES = 4
PROBE = 48  # side in pixels of the small image on which operations are counted


class Cost(NamedTuple):
    """The cost of a network: bytes stored, multiply-accumulates, bit operations, effective bits.

    bitops: MACs x weight bits x activation bits. weight_bits, activation_bits: effective bits, that is codes
    and their side information (scales, zero points, codebooks, ranges of blocks) per value, over the
    quantized layers; 32 if no layer is quantized.
    """

    bytes: int
    macs: int
    bitops: int
    weight_bits: float = float(FLOAT)
    activation_bits: float = float(FLOAT)


def cost(model: nn.Module, height: int, width: int) -> Cost:
    """Return the cost of one (1, 3, height, width) LR image; float counts 32 bits.

    A layer called twice counts twice, a weight that layers share once; products of activations count where
    the network has them as `core.networks.products.Product`. Re-parameterized weights count as the
    plain weights that they become (`fold_parametrizations`). Numbers besides the codes take 16 bits unless a
    format says otherwise.

    >>> from torch import nn
    >>> from core.analysis.cost import cost
    >>> spent = cost(nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)), 10, 20)
    >>> spent.macs == 10 * 20 * (3 * 3 * 3) * 12, spent.bitops == spent.macs * 32 * 32
    (True, True)
    """
    model = fold_parametrizations(model)
    calls = _calls(model)
    macs, bitops = _operations(model, calls, height, width)
    activation_bits = effective_activation_bits(model, calls, height, width)
    return Cost(model_bytes(model), macs, bitops, effective_weight_bits(model), activation_bits)


class Call(NamedTuple):
    """A call of a layer or a product: its name, and the shapes of its first argument and of its output."""

    name: str
    given: torch.Size
    made: torch.Size


def layer_calls(model: nn.Module) -> list[Call]:
    """Return the calls of layers and products in a forward of a (1, 3, PROBE, PROBE) image, in their order.

    Those of a network are also those of its quantized copies.
    """
    return _calls(fold_parametrizations(model))


@torch.no_grad()
def _calls(model: nn.Module) -> list[Call]:
    found: list[Call] = []

    def note(name: str, module: nn.Module, args: tuple, kwargs: dict, output: torch.Tensor) -> None:
        found.append(Call(name, (args[0] if args else next(iter(kwargs.values()))).shape, output.shape))

    hooks = [
        module.register_forward_hook(functools.partial(note, name), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, Product) or channel_dim_of(module) is not None
    ]
    run(model, torch.rand(1, 3, PROBE, PROBE))
    for hook in hooks:
        hook.remove()
    return found


def model_bytes(model: nn.Module) -> int:
    """Return the bytes of weights at their bits, side information, constants, and all float tensors."""
    bits = 0
    inside = [m.activation_quantizer for m in model.modules() if hasattr(m, "activation_quantizer")]
    for block in filter(is_residual, model.modules()):
        inside += block.residual_quantizer.children()
    counted: set[int] = set()
    for module in model.modules():
        if module in inside:
            bits += module.constants()
            continue
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in tensors:
            if id(tensor) in counted:
                continue
            counted.add(id(tensor))
            if name == "weight" and module_bits(module) != FLOAT:
                bits += sum(stored_weight_bits(module, model.quant_config))
            else:
                each = FLOAT_BYTES if isinstance(tensor, nn.Parameter) else tensor.element_size()
                bits += tensor.numel() * 8 * each
    return math.ceil(bits / 8)


def effective_weight_bits(model: nn.Module) -> float:
    """Return the bits of codes and side information per weight of quantized layers; 32 if there are none."""
    layers = [m for m in model.modules() if getattr(m, "quantization", None) is not None and has_weights(m)]
    if not layers:
        return float(FLOAT)
    stored = sum(sum(stored_weight_bits(module, model.quant_config)) for module in layers)
    return stored / sum(module.weight.numel() for module in layers)


class EffectiveCost(NamedTuple):
    """What the quantized layers cost with side information: BitOPs for NOMINAL pixels, bytes of weights."""

    bitops: float
    bytes: float


def effective_cost(model: nn.Module) -> EffectiveCost:
    """Return the cost of the quantized layers as `allocate_bits` counts it.

    BitOPs: MACs x effective bits of a weight x effective bits of an activation.
    """
    macs, rows = layer_macs(model, *NOMINAL), [row for row in audit(model) if not row.reason]
    rows = [row for row in rows if row.name in macs]
    return EffectiveCost(
        sum(macs[row.name] * row.effective[0] * row.effective[1] for row in rows),
        sum(math.prod(row.weight_shape) * row.effective[0] for row in rows) / 8,
    )


def layer_macs(model: nn.Module, height: int, width: int) -> dict[str, int]:
    """Return the multiply-accumulates of each called layer for one (1, 3, height, width) LR image."""
    model, found = fold_parametrizations(model), dict[str, float]()
    for call in _calls(model):
        module = model.get_submodule(call.name)
        if has_weights(module):
            found[call.name] = found.get(call.name, 0) + _macs(module, call, height, width)
    return {name: round(macs) for name, macs in found.items()}


def effective_activation_bits(model: nn.Module, calls: Iterable[Call], height: int, width: int) -> float:
    """Return the bits of codes and side information per quantized activation; 32 if there are none.

    calls: of `layer_calls`, for the model or the float network that it was made from.
    """
    values = stored = 0.0
    for call in calls:
        module = model.get_submodule(call.name)
        if (done := getattr(module, "quantization", None)) is None:
            continue
        x = torch.empty(_grown(module, call, height, width), device="meta")
        quantizer = getattr(module, "activation_quantizer", None)
        values += x.numel()
        stored += x.numel() * done.activation_bits
        stored += quantizer.side_information(x) if quantizer is not None else 0
    return stored / values if values else float(FLOAT)


def _operations(model: nn.Module, calls: Iterable[Call], height: int, width: int) -> tuple[int, int]:
    """Return MACs and BitOPs of one (1, 3, height, width) image."""
    macs = bitops = 0.0
    for call in calls:
        module = model.get_submodule(call.name)
        if isinstance(module, Product):
            own = math.prod(call.made) * call.given[-1] * _growth(height, width)
            sides = [quantization_of(side) for side in (module.left, module.right)]
            macs += own
            bitops += own * math.prod(side.activation_bits if side else FLOAT for side in sides)
        elif has_weights(module):
            own, done = _macs(module, call, height, width), quantization_of(module)
            macs += own
            bitops += own * (done.weight_bits * done.activation_bits if done else FLOAT**2)
    return round(macs), round(bitops)


def _growth(height: int, width: int) -> float:
    """Return by how much an image has more pixels than the one that was run."""
    return (height / PROBE) * (width / PROBE)


def _macs(module: nn.Module, call: Call, height: int, width: int) -> float:
    # A transposed conv multiplies each input, not each output, by the kernel.
    values = math.prod(call.given if isinstance(module, nn.ConvTranspose2d) else call.made)
    return values * module.weight[0].numel() * (1 if _pooled(module, call) else _growth(height, width))


def _pooled(module: nn.Module, call: Call) -> bool:
    """Return whether the input has one value a channel, however large the image."""
    single = is_single(torch.empty(call.given, device="meta"), channel_dim_of(module))
    return call.given[0] == 1 and len(call.given) > 1 and single


def _grown(module: nn.Module, call: Call, height: int, width: int) -> list[int]:
    """Return the shape of what goes into a layer for an image of that size."""
    shape = list(call.given)
    if _pooled(module, call):
        return shape
    if len(shape) == 4 and channel_dim_of(module) == -3:
        shape[2:] = round(shape[2] * (height / PROBE)), round(shape[3] * (width / PROBE))
    else:  # a larger image has more windows or tokens
        shape[0] = round(shape[0] * _growth(height, width))
    return shape
