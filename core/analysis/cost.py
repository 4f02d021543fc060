"""What a network costs: bytes of its weights and codebooks, bit operations of a forward, effective bits."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from core.networks.folding import fold_parametrizations
from core.networks.running import run
from core.ptq.config import FLOAT
from core.ptq.rounding import stored_weight_bits
from core.ptq.scope import channel_dim_of
from core.ptq.weight_levels import module_bits, quantization_of
from core.quantizers.normalization import is_single
from core.quantizers.pams import is_residual

FLOAT_BYTES = 4
PROBE = 48  # pixels of the small image on which layers are counted


class Cost(NamedTuple):
    """`bytes` as stored; `macs` multiply-accumulates; `bitops` MACs x weight bits x activation bits.

    weight_bits, activation_bits: effective ones, that is codes and the side information that goes with them
    (scales, zero points, codebooks, numbers of blocks), a value, over the quantized layers; 32 where none is.
    """

    bytes: int
    macs: int
    bitops: int
    weight_bits: float = float(FLOAT)
    activation_bits: float = float(FLOAT)


def cost(model: nn.Module, height: int, width: int) -> Cost:
    """Return the cost of one (1, 3, height, width) LR image; float counts 32 bits.

    Layers called twice count twice, weights that layers share once. Re-parameterized weights count as the
    plain ones that they become (`fold_parametrizations`). Numbers beside the codes take 16 bits unless a
    format says otherwise.
    """
    model = fold_parametrizations(model)
    macs, bitops, activation_bits = _forward(model, height, width)
    return Cost(model_bytes(model), macs, bitops, effective_weight_bits(model), activation_bits)


def model_bytes(model: nn.Module) -> int:
    """Return the bytes of weights at their bits, side information, constants, and the float rest."""
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
    """Return codes and side information in bits a weight, over the quantized layers; 32 if there are none."""
    layers = [m for m in model.modules() if getattr(m, "quantization", None) is not None]
    if not layers:
        return float(FLOAT)
    stored = sum(sum(stored_weight_bits(module, model.quant_config)) for module in layers)
    return stored / sum(module.weight.numel() for module in layers)


@torch.no_grad()
def _forward(model: nn.Module, height: int, width: int) -> tuple[int, int, float]:
    """MACs, BitOPs and effective bits of activations of a copy, counted on a small image.

    All layers grow with the number of pixels, but those whose input has one value a channel.
    """
    macs = bitops = values = stored = 0.0
    grow_height, grow_width = height / PROBE, width / PROBE
    grow = grow_height * grow_width

    def count(module: nn.Module, args: tuple, kwargs: dict, output: torch.Tensor) -> None:
        nonlocal macs, bitops, values, stored
        x = args[0] if args else next(iter(kwargs.values()))
        per_output = module.weight[0].numel()
        # A transposed conv multiplies each input, not each output, by a kernel.
        own = (x if isinstance(module, nn.ConvTranspose2d) else output).numel() * per_output
        done = quantization_of(module)
        pooled = len(x) == 1 and x.ndim > 1 and is_single(x, channel_dim_of(module))
        own *= 1 if pooled else grow
        macs += own
        bitops += own * (done.weight_bits * done.activation_bits if done else FLOAT**2)
        if done:
            shape = list(x.shape)
            if len(shape) == 4 and channel_dim_of(module) == -3 and not pooled:
                shape[2:] = round(shape[2] * grow_height), round(shape[3] * grow_width)
            elif not pooled:  # windows, tokens: more of them
                shape[0] = round(shape[0] * grow)
            grown = torch.empty(shape, device="meta")
            quantizer = getattr(module, "activation_quantizer", None)
            side = quantizer.side_information(grown) if quantizer is not None else 0
            values += grown.numel()
            stored += grown.numel() * done.activation_bits + side

    for layer in filter(channel_dim_of, model.modules()):
        layer.register_forward_hook(count, with_kwargs=True)
    run(model, torch.rand(1, 3, PROBE, PROBE))
    effective = stored / values if values else float(FLOAT)
    return round(macs), round(bitops), effective
