"""Stand-ins for observers where no statistics are needed, since their result is known."""

from __future__ import annotations

import numpy as np
from torch import nn

from core.ptq.config import QuantConfig
from core.ptq.observers import Observer
from core.quantizers.normalized import SubsetQuantizer


class Known(Observer):
    """A stand-in for an observer whose quantizer for one configuration exists already (None for float)."""

    def __init__(self, quantizer: nn.Module | None, post_relu: bool):
        self._quantizer, self.post_relu = quantizer, post_relu

    def quantizer(self, config: QuantConfig) -> nn.Module:
        """Return the known quantizer."""
        return self._quantizer


class ChosenPoints(Observer):
    """A stand-in for an observer whose points are known: (C, 2**bits) on `config.candidates`' grid."""

    def __init__(self, points: np.ndarray, post_relu: bool, channel_dim: int):
        self._points, self.post_relu, self._channel_dim = points, post_relu, channel_dim

    def quantizer(self, config: QuantConfig) -> SubsetQuantizer:
        """Return a quantizer to the known points."""
        return SubsetQuantizer(
            self._points,
            config.universal_set.step,
            self.post_relu,
            config.activation_bits,
            self._channel_dim,
            config.block_side,
            config.side_bits,
            len(config.candidates),
        )
