"""Range estimation for uniform quantizers: per-image statistics -> (low, high)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

# Estimators of the range of one image's activations (1-D float tensor) -> (low, high).
PERCENTILES = (0.1, 99.9)


def minmax(values: torch.Tensor) -> tuple[float, float]:
    """Lowest and highest value."""
    low, high = values.aminmax()
    return float(low), float(high)


def percentile(values: torch.Tensor) -> tuple[float, float]:
    """The 0.1th and 99.9th percentile, linearly interpolated."""
    low, high = np.percentile(values.cpu().numpy(), PERCENTILES)
    return float(low), float(high)


RANGES: dict[str, Callable[[torch.Tensor], tuple[float, float]]] = {
    "minmax": minmax,
    "percentile": percentile,
}
