"""Check whether the weights of a quantized layer are still on their levels.

Training moves them: then they are float again, and audit, cost and saved files must say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from core.ptq.config import FLOAT
from core.quantizers.microscaling import FORMATS
from core.quantizers.weights import weight_rows

if TYPE_CHECKING:
    from core.ptq.audit import LayerQuantization
    from core.ptq.config import QuantConfig


def distinct(rows: torch.Tensor) -> torch.Tensor:
    """Return the sorted distinct values of each of `rows` (R, n): (R, k), filled up with the largest."""
    ordered = rows.sort(1).values
    place = (ordered.diff(dim=1) != 0).long().cumsum(1)
    place = torch.cat([place.new_zeros(len(rows), 1), place], 1)
    found = ordered[:, -1:].repeat(1, int(place.max()) + 1)
    return found.scatter(1, place, ordered)


def note_levels(model: nn.Module) -> None:
    """Store the distinct weights of every quantized layer on it, for `quantization_of` to compare with."""
    for module in model.modules():
        if module_bits(module) != FLOAT:
            module.weight_levels = distinct(weight_rows(module))


def module_bits(module: nn.Module) -> int:
    """Return the bits that the layer's weights were quantized to; 32 if they were not."""
    done = getattr(module, "quantization", None)
    return done.weight_bits if done is not None else FLOAT


def quantization_of(module: nn.Module) -> LayerQuantization | None:
    """Return how the layer is quantized now: with 32 bits for weights that left their levels."""
    done = getattr(module, "quantization", None)
    return done._replace(weight_bits=FLOAT) if has_left(module) else done


def has_left(module: nn.Module) -> bool:
    """Return whether the layer's weights were quantized and changed since.

    A change of dtype (half, double) does not count.
    """
    levels = getattr(module, "weight_levels", None)
    if module_bits(module) == FLOAT or levels is None:
        return False
    rows = weight_rows(module)
    levels = levels.to(rows)
    place = torch.searchsorted(levels, rows.contiguous()).clamp_(max=levels.shape[1] - 1)
    return not torch.equal(levels.gather(1, place), rows)


def too_many(module: nn.Module, config: QuantConfig) -> bool:
    """Return whether a row has more distinct values than its bits allow, as in networks trained further."""
    if module_bits(module) == FLOAT or config.recipe.weights in FORMATS:  # formats have levels by block
        return False
    return distinct(weight_rows(module)).shape[1] > 2 ** module_bits(module)
