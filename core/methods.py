"""The quantization methods by name: how each treats activations and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from core.levels import apot_levels, log2_levels
from core.observers import (
    GaussianObserver,
    HistogramObserver,
    Observer,
    RangeObserver,
    ScaledLevelsObserver,
    SubsetObserver,
)

if TYPE_CHECKING:
    from core.config import QuantConfig
    from core.universal_set import UniversalSet

BLOCK = 8  # pixels; chosen on Kodak: larger ones lose more, smaller ones have too many numbers of their own
FEW_BITS = 6  # beyond, codebooks take much of the memory, and at 8 uniform levels do better
REFINEMENTS = ("reconstruction", "rounding", "bias")  # what each is: `core.compensation.compensate`


class Method(NamedTuple):
    """`activation(config, channel_dim)` -> observer; `weights` names one of `core.weights.WEIGHTS`.

    subset_weights: up to FEW_BITS, and if it has as many, their levels are points of the activations' set.
    refine: what of REFINEMENTS is done to the weights beyond rounding each to its nearest level.
    from_subset: the activations' points come from the universal set; doubled: and from the doubles of its
    points (`UniversalSet`); pin_zero: with selector "exact" one of them is 0, as with DFSQ's k-means.
    dynamic: they are normalized by statistics of each input, so that the picture of a crop is not a part of
    the picture of the whole; of blocks of so many pixels each way, or (0) of the whole.
    """

    activation: Callable[[QuantConfig, int], Observer]
    weights: str = "minmax"
    subset_weights: bool = False
    refine: tuple[str, ...] = ()
    from_subset: bool = False
    doubled: bool = False
    pin_zero: bool = False
    dynamic: bool = False
    block: int = 0

    def candidates(self, universal_set: UniversalSet) -> UniversalSet:
        """What the activations' points come from."""
        return dataclasses.replace(universal_set, doubled=universal_set.doubled or self.doubled)

    def weight_levels(self, bits: int, n_candidates: int) -> str:
        """Name in `core.weights.WEIGHTS`."""
        enough = bits <= FEW_BITS and 2**bits <= n_candidates
        return "subset" if self.subset_weights and enough else self.weights


def _subset(config: QuantConfig, channel_dim: int) -> SubsetObserver:
    pin_zero = METHODS[config.method].pin_zero
    return SubsetObserver(config.candidates, channel_dim, pin_zero, config.block_side)


def _learned(config: QuantConfig, channel_dim: int) -> Observer:
    raise ValueError(f"{config.method} is learned in training, not calibrated: use core.odm")


METHODS: dict[str, Method] = {
    "dfsq": Method(_subset, from_subset=True, dynamic=True),
    "dfsq+": Method(
        _subset,
        weights="mse",
        subset_weights=True,
        refine=REFINEMENTS,
        from_subset=True,
        doubled=True,
        pin_zero=True,
        dynamic=True,
        block=BLOCK,
    ),
    "minmax": Method(lambda config, dim: RangeObserver("minmax", dim)),
    "percentile": Method(lambda config, dim: RangeObserver("percentile", dim)),
    "mse": Method(lambda config, dim: HistogramObserver(dim), "mse"),
    "mse-channel": Method(lambda config, dim: HistogramObserver(dim, per_channel=True), "mse"),
    "2dquant": Method(lambda config, dim: HistogramObserver(dim, joint=True), "2dquant"),
    "log2": Method(lambda config, dim: ScaledLevelsObserver(log2_levels, dim)),
    "apot": Method(lambda config, dim: ScaledLevelsObserver(apot_levels, dim)),
    "daq": Method(lambda config, dim: GaussianObserver(dim), dynamic=True),
}

# What `core.odm` trains: a network can have been quantized so, but `quantize_model` cannot do it.
TRAINED: dict[str, Method] = {name: Method(_learned) for name in ("odm", "odm-v1", "pams")}
EVERY_METHOD = METHODS | TRAINED
