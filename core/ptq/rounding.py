"""Round a layer's weights to the levels of its rule, and count the bits that they are stored in."""

from __future__ import annotations

import torch
from torch import nn

from core.ptq.config import FLOAT, QuantConfig
from core.ptq.weight_levels import quantization_of
from core.quantizers.microscaling import FORMATS, microscaled_weight, weight_side_bits
from core.quantizers.weights import WEIGHTS, as_rows, from_rows, nearest, weight_rows


def rounded_rows(
    rows: torch.Tensor, module: nn.Module, config: QuantConfig
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Return the levels (R, k) of each of `rows` (R, n) in the shape of the module's, and the rows on them.

    No levels where they are by block, not by row.
    """
    rule, bits = config.recipe.weights, config.weight_bits
    if rule in FORMATS:
        weight = microscaled_weight(from_rows(rows, module), module, FORMATS[rule], bits)
        return None, as_rows(weight, module)
    levels = WEIGHTS[rule].levels(rows, bits, config.candidates)
    return levels, nearest(rows, levels)


def stored_weight_bits(module: nn.Module, config: QuantConfig) -> tuple[int, int]:
    """Return the bits of the codes of a quantized layer's weight, and of what goes with them.

    32 a weight where they left their levels.
    """
    bits = quantization_of(module).weight_bits
    codes = module.weight.numel() * bits
    if bits == FLOAT:
        return codes, 0
    recipe = config.recipe
    if recipe.weights in FORMATS:
        return codes, weight_side_bits(module, FORMATS[recipe.weights])
    rule = WEIGHTS[recipe.weights]
    if "rounding" in recipe.refine:  # it fits the levels of every row
        rule = rule._replace(by_row=True, numbers=2)
    return codes, rule.side_bits(len(weight_rows(module)), bits, len(config.candidates))
