"""The quantization methods by name: how each treats activations and weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from core.calibration import RangeObserver, SubsetObserver
from core.weights import minmax

if TYPE_CHECKING:
    from core.config import QuantConfig

Observer = RangeObserver | SubsetObserver


class Method(NamedTuple):
    """`activation(config, channel_dim)` -> observer; `weight(rows, bits)` -> rows of few levels."""

    activation: Callable[[QuantConfig, int], Observer]
    weight: Callable[[torch.Tensor, int], torch.Tensor]


def _subset(config: QuantConfig, channel_dim: int) -> SubsetObserver:
    return SubsetObserver(config.universal_set, channel_dim)


METHODS: dict[str, Method] = {
    "dfsq": Method(_subset, minmax),
    "minmax": Method(lambda config, dim: RangeObserver("minmax", dim), minmax),
    "percentile": Method(lambda config, dim: RangeObserver("percentile", dim), minmax),
}
