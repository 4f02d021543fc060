"""The configuration of a quantized network: plain values, hashable, printable."""

from __future__ import annotations

import dataclasses

from core.methods import EVERY_METHOD, METHODS, REFINEMENTS
from core.point_selection import SELECTORS
from core.universal_set import UniversalSet
from core.weights import WEIGHTS

FLOAT = 32  # bits that mean "not quantized"
BITS = (*range(2, 9), FLOAT)
MAX_BLOCK = 4096  # pixels


@dataclasses.dataclass(frozen=True)
class QuantConfig:
    """Everything that decides a quantized network besides its weights and calibration images.

    bits: 2 to 8, or 32 for float. `universal_set` and `selector` matter to methods that choose points from
    it; "dfsq" with selector="kmeans" is DFSQ as published. `weights` names one of `core.weights.WEIGHTS` and
    `refine` some of `core.methods.REFINEMENTS`; `block` is the side in pixels of the regions that are
    normalized apart (0: the whole image), where points come from the set. None leaves each to the method.
    ValueError for anything outside.
    """

    method: str = "dfsq"
    activation_bits: int = 4
    weight_bits: int = 4
    universal_set: UniversalSet = dataclasses.field(default_factory=UniversalSet)
    selector: str = "exact"
    seed: int = 0
    weights: str | None = None
    refine: tuple[str, ...] | None = None
    block: int | None = None

    def __post_init__(self):
        if self.method not in EVERY_METHOD:
            raise ValueError(f"no method {self.method!r}; there are {', '.join(METHODS)}")
        if self.selector not in SELECTORS:
            raise ValueError(f"no selector {self.selector!r}; there are {', '.join(SELECTORS)}")
        for name in ("activation_bits", "weight_bits"):
            bits = getattr(self, name)
            if not isinstance(bits, int) or isinstance(bits, bool) or bits not in BITS:
                raise ValueError(f"{name} must be 2 to 8, or 32 for float, got {bits!r}")
        if not isinstance(self.seed, int):
            raise ValueError(f"seed must be a whole number, got {self.seed!r}")
        if not isinstance(self.universal_set, UniversalSet):
            raise ValueError(f"universal_set must be a UniversalSet, got {type(self.universal_set).__name__}")
        if self.weights is not None and self.weights not in WEIGHTS:
            raise ValueError(f"no weight levels {self.weights!r}; there are {', '.join(WEIGHTS)}")
        if self.refine is not None and not (
            isinstance(self.refine, tuple) and set(self.refine) <= set(REFINEMENTS)
        ):
            raise ValueError(f"refine must be a tuple out of {', '.join(REFINEMENTS)}, got {self.refine!r}")
        if self.block is not None and (type(self.block) is not int or not 0 <= self.block <= MAX_BLOCK):
            raise ValueError(f"block must be a side of 0 to {MAX_BLOCK:,} pixels, got {self.block!r}")
        needed = 2**self.activation_bits if self.activation_bits != FLOAT else 0
        if self.from_subset and needed > len(self.universal_set):
            words, terms, size = self.universal_set.words, self.universal_set.terms, len(self.universal_set)
            raise ValueError(
                f"{self.activation_bits} bits need {needed} points but the universal set of words={words}, "
                f"terms={terms} has {size}; take more words or terms, or fewer bits"
            )

    @property
    def from_subset(self) -> bool:
        """The activations' points come from the universal set."""
        return EVERY_METHOD[self.method].from_subset

    @property
    def candidates(self) -> UniversalSet:
        """What points come from: the universal set, doubled where the method says so."""
        return EVERY_METHOD[self.method].candidates(self.universal_set)

    @property
    def weight_levels(self) -> str:
        """Name in `core.weights.WEIGHTS`, the method's own for so many bits unless chosen."""
        method = EVERY_METHOD[self.method]
        return self.weights or method.weight_levels(self.weight_bits, len(self.candidates))

    @property
    def refinements(self) -> tuple[str, ...]:
        """Out of `core.methods.REFINEMENTS`, the method's own unless chosen."""
        return EVERY_METHOD[self.method].refine if self.refine is None else self.refine

    @property
    def block_side(self) -> int:
        """Of the regions normalized apart, 0 for the whole image; the method's own unless chosen."""
        return EVERY_METHOD[self.method].block if self.block is None else self.block

    def __str__(self) -> str:
        selector = f"-{self.selector}" if self.from_subset else ""
        weights = f", {self.weights} weights" if self.weights else ""
        refine = "" if self.refine is None else f", refine {'+'.join(self.refine) or 'nothing'}"
        block = "" if self.block is None else f", blocks of {self.block}"
        return f"{self.method}{selector} W{self.weight_bits}A{self.activation_bits}{weights}{refine}{block}"
