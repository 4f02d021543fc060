"""The cost of a network: bytes of weights and codebooks, bit operations of a forward, effective bits."""

from __future__ import annotations

import math
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
    macs, bitops, activation_bits = _forward(model, height, width)
    return Cost(model_bytes(model), macs, bitops, effective_weight_bits(model), activation_bits)


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


@torch.no_grad()
def layer_macs(model: nn.Module, height: int, width: int) -> dict[str, int]:
    """Return the multiply-accumulates of each called layer for one (1, 3, height, width) LR image."""
    model = fold_parametrizations(model)
    grow, found = height / PROBE * width / PROBE, dict[str, float]()

    def counting(name: str):
        def count(module: nn.Module, args: tuple, kwargs: dict, output: torch.Tensor) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            found[name] = found.get(name, 0) + _macs(module, x, output) * (1 if _pooled(module, x) else grow)

        return count

    for name, module in model.named_modules():
        if has_weights(module):
            module.register_forward_hook(counting(name), with_kwargs=True)
    run(model, torch.rand(1, 3, PROBE, PROBE))
    return {name: round(macs) for name, macs in found.items()}


def _macs(module: nn.Module, x: torch.Tensor, output: torch.Tensor) -> int:
    # A transposed conv multiplies each input, not each output, by the kernel.
    return (x if isinstance(module, nn.ConvTranspose2d) else output).numel() * module.weight[0].numel()


def _pooled(module: nn.Module, x: torch.Tensor) -> bool:
    """Return whether the input has one value a channel, however large the image."""
    return len(x) == 1 and x.ndim > 1 and is_single(x, channel_dim_of(module))


@torch.no_grad()
def _forward(model: nn.Module, height: int, width: int) -> tuple[int, int, float]:
    """Return MACs, BitOPs and effective activation bits, counted on a small image and scaled up.

    The cost of a layer grows with the number of pixels, except where its input has one value a channel. Hooks
    are added: give a copy.
    """
    macs = bitops = values = stored = 0.0
    grow_height, grow_width = height / PROBE, width / PROBE
    grow = grow_height * grow_width

    def count(module: nn.Module, args: tuple, kwargs: dict, output: torch.Tensor) -> None:
        nonlocal macs, bitops, values, stored
        x = args[0] if args else next(iter(kwargs.values()))
        done, pooled = quantization_of(module), _pooled(module, x)
        if has_weights(module):
            own = _macs(module, x, output) * (1 if pooled else grow)
            macs += own
            bitops += own * (done.weight_bits * done.activation_bits if done else FLOAT**2)
        if done:
            shape = list(x.shape)
            if len(shape) == 4 and channel_dim_of(module) == -3 and not pooled:
                shape[2:] = round(shape[2] * grow_height), round(shape[3] * grow_width)
            elif not pooled:  # a larger image has more windows or tokens
                shape[0] = round(shape[0] * grow)
            grown = torch.empty(shape, device="meta")
            quantizer = getattr(module, "activation_quantizer", None)
            side = quantizer.side_information(grown) if quantizer is not None else 0
            values += grown.numel()
            stored += grown.numel() * done.activation_bits + side

    def multiply(module: Product, args: tuple, output: torch.Tensor) -> None:
        nonlocal macs, bitops
        own = output.numel() * args[0].shape[-1] * grow
        sides = [quantization_of(side) for side in (module.left, module.right)]
        macs += own
        bitops += own * math.prod(side.activation_bits if side else FLOAT for side in sides)

    for module in model.modules():
        if isinstance(module, Product):
            module.register_forward_hook(multiply)
        elif channel_dim_of(module) is not None:
            module.register_forward_hook(count, with_kwargs=True)
    run(model, torch.rand(1, 3, PROBE, PROBE))
    effective = stored / values if values else float(FLOAT)
    return round(macs), round(bitops), effective
