"""What a network costs: bytes of its weights and codebooks, bit operations of a forward."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from core.config import FLOAT
from core.quantizers import SubsetQuantizer
from core.scope import channel_dim_of

FLOAT_BYTES = 4
ROW_SCALES = 2  # float numbers a weight row needs beside its codes: low and step, or mean and scale


class Cost(NamedTuple):
    """`bytes` as stored; `macs` multiply-accumulates; `bitops` MACs x weight bits x activation bits."""

    bytes: int
    macs: int
    bitops: int


def cost(model: nn.Module, height: int, width: int) -> Cost:
    """Of one (1, 3, height, width) LR image; float counts 32 bits. Layers called twice count twice."""
    return Cost(model_bytes(model), *_operations(model, height, width))


def model_bytes(model: nn.Module) -> int:
    """Weights at their bits with two floats a row, points as indices into their set, the rest float."""
    bits = 0
    inside = [m.activation_quantizer for m in model.modules() if hasattr(m, "activation_quantizer")]
    for module in model.modules():
        if module in inside:
            bits += _quantizer_bits(module, model.quant_config)
            continue
        done = getattr(module, "quantization", None)
        for name, parameter in module.named_parameters(recurse=False):
            if name == "weight" and done is not None and done.weight_bits != FLOAT:
                rows = getattr(module, "out_channels", None) or module.out_features
                bits += parameter.numel() * done.weight_bits + rows * _row_bits(model.quant_config)
            else:
                bits += parameter.numel() * 8 * FLOAT_BYTES
        bits += sum(8 * b.numel() * b.element_size() for b in module.buffers(recurse=False))
    return math.ceil(bits / 8)


def _row_bits(config) -> int:
    """Of a weight row, beside its codes: two floats, and its points where they come from the set."""
    points = 2**config.weight_bits if config.weight_levels == "subset" else 0
    return ROW_SCALES * 8 * FLOAT_BYTES + points * _index_bits(config)


def _index_bits(config) -> int:
    return math.ceil(math.log2(len(config.candidates)))


def _quantizer_bits(quantizer: nn.Module, config) -> int:
    if isinstance(quantizer, SubsetQuantizer):
        return quantizer.points.numel() * _index_bits(config)
    return sum(8 * FLOAT_BYTES * buffer.numel() for buffer in quantizer.buffers())


@torch.no_grad()
def _operations(model: nn.Module, height: int, width: int) -> tuple[int, int]:
    """MACs and BitOPs, counted on a small image: all layers grow with the number of pixels."""
    macs = bitops = 0

    def count(module: nn.Module, args: tuple, output: torch.Tensor) -> None:
        nonlocal macs, bitops
        per_output = module.weight[0].numel()
        # A transposed conv multiplies each input, not each output, by a kernel.
        own = (args[0] if isinstance(module, nn.ConvTranspose2d) else output).numel() * per_output
        done = getattr(module, "quantization", None)
        macs += own
        bitops += own * (done.weight_bits * done.activation_bits if done else FLOAT**2)

    handles = [m.register_forward_hook(count) for m in model.modules() if channel_dim_of(m)]
    parameter = next(model.parameters())
    small = 48
    try:
        model(torch.rand(1, 3, small, small, device=parameter.device, dtype=parameter.dtype))
    finally:
        for handle in handles:
            handle.remove()
    grow = height * width / small**2
    return round(macs * grow), round(bitops * grow)
