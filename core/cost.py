"""What a network costs: bytes of its weights and codebooks, bit operations of a forward, effective bits."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from core.config import FLOAT
from core.pams import is_residual
from core.rounding import stored_weight_bits
from core.running import run
from core.scope import channel_dim_of

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

    Layers called twice count twice. Numbers beside the codes take 16 bits unless a format says otherwise.
    """
    macs, bitops, activation_bits = _forward(model, height, width)
    return Cost(model_bytes(model), macs, bitops, effective_weight_bits(model), activation_bits)


def model_bytes(model: nn.Module) -> int:
    """Return the bytes of weights at their bits, side information, constants, and the float rest."""
    bits = 0
    inside = [m.activation_quantizer for m in model.modules() if hasattr(m, "activation_quantizer")]
    for block in filter(is_residual, model.modules()):
        inside += block.residual_quantizer.children()
    for module in model.modules():
        if module in inside:
            bits += module.constants()
            continue
        done = getattr(module, "quantization", None)
        for name, parameter in module.named_parameters(recurse=False):
            if name == "weight" and done is not None and done.weight_bits != FLOAT:
                bits += sum(stored_weight_bits(module, model.quant_config))
            else:
                bits += parameter.numel() * 8 * FLOAT_BYTES
        bits += sum(8 * b.numel() * b.element_size() for b in module.buffers(recurse=False))
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
    """MACs, BitOPs and effective bits of activations, counted on a small image.

    All layers grow with the number of pixels.
    """
    macs = bitops = 0
    values = stored = 0.0
    grow_height, grow_width = height / PROBE, width / PROBE
    grow = grow_height * grow_width

    def count(module: nn.Module, args: tuple, output: torch.Tensor) -> None:
        nonlocal macs, bitops, values, stored
        per_output = module.weight[0].numel()
        # A transposed conv multiplies each input, not each output, by a kernel.
        own = (args[0] if isinstance(module, nn.ConvTranspose2d) else output).numel() * per_output
        done = getattr(module, "quantization", None)
        macs += own
        bitops += own * (done.weight_bits * done.activation_bits if done else FLOAT**2)
        if done:
            shape = list(args[0].shape)
            if len(shape) == 4 and channel_dim_of(module) == -3:
                shape[2:] = round(shape[2] * grow_height), round(shape[3] * grow_width)
            else:  # windows, tokens: more of them
                shape[0] = round(shape[0] * grow)
            grown = torch.empty(shape, device="meta")
            quantizer = getattr(module, "activation_quantizer", None)
            side = quantizer.side_information(grown) if quantizer is not None else 0
            values += grown.numel()
            stored += grown.numel() * done.activation_bits + side

    handles = [m.register_forward_hook(count) for m in model.modules() if channel_dim_of(m)]
    try:
        run(model, torch.rand(1, 3, PROBE, PROBE))
    finally:
        for handle in handles:
            handle.remove()
    effective = stored / values if values else float(FLOAT)
    return round(macs * grow), round(bitops * grow), effective
