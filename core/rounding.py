"""Round a layer's weights to the levels of its rule."""

from __future__ import annotations

import torch
from torch import nn

from core.config import QuantConfig
from core.microscaling import FORMATS, microscaled_weight
from core.weights import WEIGHTS, as_rows, from_rows, nearest


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
