"""Whether the weights of a quantized layer are still what they were quantized to.

Training moves them: they are float again then, and audit, cost and saved files have to say so.
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
    """Return the sorted distinct values of each of `rows` (R, n): (R, k), the largest repeated to fill up."""
    ordered = rows.sort(1).values
    place = (ordered.diff(dim=1) != 0).long().cumsum(1)
    place = torch.cat([place.new_zeros(len(rows), 1), place], 1)
    found = ordered[:, -1:].repeat(1, int(place.max()) + 1)
    return found.scatter(1, place, ordered)


def note_levels(model: nn.Module) -> None:
    """Keep on every quantized layer which values its weights have, for `quantization_of` to compare with."""
    for module in model.modules():
        if module_bits(module) != FLOAT:
            module.weight_levels = distinct(weight_rows(module))


def module_bits(module: nn.Module) -> int:
    """Return the bits that the layer's weights were quantized to; 32 where they were not."""
    done = getattr(module, "quantization", None)
    return done.weight_bits if done is not None else FLOAT


def quantization_of(module: nn.Module) -> LayerQuantization | None:
    """Return the bits that the layer has now: 32 for weights that left their levels."""
    done = getattr(module, "quantization", None)
    return done._replace(weight_bits=FLOAT) if has_left(module) else done


def has_left(module: nn.Module) -> bool:
    """Return whether the layer's weights were quantized, and have other values since.

    A change of their type (half, double) is none.
    """
    levels = getattr(module, "weight_levels", None)
    if module_bits(module) == FLOAT or levels is None:
        return False
    rows = weight_rows(module)
    levels = levels.to(rows)
    place = torch.searchsorted(levels, rows.contiguous()).clamp_(max=levels.shape[1] - 1)
    return not torch.equal(levels.gather(1, place), rows)


def too_many(module: nn.Module, config: QuantConfig) -> bool:
    """Return whether a row has more values than its bits allow, as in files of networks trained further."""
    if module_bits(module) == FLOAT or config.recipe.weights in FORMATS:  # whose levels are by block
        return False
    return distinct(weight_rows(module)).shape[1] > 2 ** module_bits(module)
