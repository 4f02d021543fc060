"""The configuration of a quantized network: plain values, hashable, printable."""

from __future__ import annotations

import dataclasses

from core.points.selection import SELECTORS
from core.points.universal_set import UniversalSet
from core.ptq.methods import (
    BLOCK,
    EVERY_METHOD,
    FROM_EACH_INPUT,
    LEVELS,
    METHODS,
    NORMALIZATIONS,
    REFINEMENTS,
    Method,
)
from core.quantizers.microscaling import FORMATS
from core.quantizers.ranges import RANGES
from core.quantizers.weights import WEIGHTS
from core.utils.numbers import check_whole

FLOAT = 32  # bits that stand for "not quantized"
BITS = (*range(2, 9), FLOAT)
MAX_BLOCK = 4096  # pixels a side
LISTED = 3  # layers with bits of their own that the label names; of more it says how many
SIDE_BITS = (4, 8, 16)
CHOICES = {
    "selector": tuple(SELECTORS),
    "normalization": tuple(NORMALIZATIONS),
    "levels": LEVELS,
    "ranges": tuple(RANGES),
    "weights": (*WEIGHTS, *FORMATS),
}


@dataclasses.dataclass(frozen=True)
class QuantConfig:
    """Everything that decides a quantized network besides its weights and calibration images.

    bits: 2 to 8, or 32 for float. A method is one choice of every ingredient (`core.ptq.methods.Method`);
    selector, normalization, levels, ranges, weights and refine each replace the method's own, None keeps it.
    `recipe` has the result. universal_set matters if levels or weights come from it. block: side in pixels of
    the blocks that are normalized separately, with normalization="block". side_bits: bits of each number of
    side information where every input is normalized by its own statistics: 16 as they are, 8 or 4 rounded.
    layer_bits: (layer, weight bits, activation bits) of each layer whose bits differ from weight_bits and
    activation_bits; sorted here, and without those that do not differ. ValueError for values that are not
    allowed or do not go together.

    >>> from core import QuantConfig
    >>> print(QuantConfig("dfsq", activation_bits=4, weight_bits=8))
    dfsq W8A4
    >>> QuantConfig("dfsq", levels="uniform", ranges="mse").recipe.normalization
    'image'
    >>> print(QuantConfig("mse", layer_bits=(("conv2", 8, 6),)))
    mse W4A4, conv2 W8A6
    """

    method: str = "dfsq-exact"
    activation_bits: int = 4
    weight_bits: int = 4
    universal_set: UniversalSet = dataclasses.field(default_factory=UniversalSet)
    selector: str | None = None
    seed: int = 0
    normalization: str | None = None
    levels: str | None = None
    ranges: str | None = None
    weights: str | None = None
    refine: tuple[str, ...] | None = None
    block: int | None = None
    side_bits: int = 16
    layer_bits: tuple[tuple[str, int, int], ...] = ()

    def __post_init__(self):
        if self.method not in EVERY_METHOD:
            raise ValueError(f"no method {self.method!r}; there are {', '.join(METHODS)}")
        for name, there in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in there:
                raise ValueError(f"no {name} {value!r}; there are {', '.join(there)}")
        for name in ("activation_bits", "weight_bits"):
            bits = getattr(self, name)
            if not isinstance(bits, int) or isinstance(bits, bool) or bits not in BITS:
                raise ValueError(f"{name} must be 2 to 8, or 32 for float, got {bits!r}")
        check_whole("seed", self.seed, least=0)
        if not isinstance(self.universal_set, UniversalSet):
            raise ValueError(f"universal_set must be a UniversalSet, got {type(self.universal_set).__name__}")
        if self.refine is not None and not (
            isinstance(self.refine, tuple) and set(self.refine) <= set(REFINEMENTS)
        ):
            raise ValueError(f"refine must be a tuple out of {', '.join(REFINEMENTS)}, got {self.refine!r}")
        if self.block is not None and (type(self.block) is not int or not 1 <= self.block <= MAX_BLOCK):
            raise ValueError(f"block must be a side of 1 to {MAX_BLOCK:,} pixels, got {self.block!r}")
        if type(self.side_bits) is not int or self.side_bits not in SIDE_BITS:
            raise ValueError(f"side_bits must be 4, 8 or 16, got {self.side_bits!r}")
        self._check_together()
        self._check_layer_bits()

    def _check_layer_bits(self) -> None:
        """Check the bits of single layers, and bring them into the one order that equal ones share."""
        form = isinstance(self.layer_bits, tuple) and all(
            isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[0], str)
            for entry in self.layer_bits
        )
        if not form:
            raise ValueError(
                "layer_bits must be a tuple of (layer's name, weight bits, activation bits), "
                f"got {self.layer_bits!r:.80}"
            )
        names = [name for name, _, _ in self.layer_bits]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"layer_bits has {twice} twice; keep one of the two")
        for name in names:
            try:
                self.for_layer(name)
            except ValueError as error:
                raise ValueError(f"layer_bits of {name}: {error}") from error
        own = self.weight_bits, self.activation_bits
        kept = tuple(sorted(entry for entry in self.layer_bits if entry[1:] != own))
        object.__setattr__(self, "layer_bits", kept)

    def for_layer(self, name: str) -> QuantConfig:
        """Return the configuration of the named layer alone: with its bits, and no others by layer."""
        if not self.layer_bits:
            return self
        found = {own: bits for own, *bits in self.layer_bits}
        weight_bits, activation_bits = found.get(name, (self.weight_bits, self.activation_bits))
        return dataclasses.replace(
            self, weight_bits=weight_bits, activation_bits=activation_bits, layer_bits=()
        )

    def _check_together(self) -> None:
        recipe = self.recipe
        levels = NORMALIZATIONS[recipe.normalization]
        if recipe.levels not in levels:
            raise ValueError(
                f"with normalization {recipe.normalization!r} go levels {', '.join(levels)}, "
                f"got {recipe.levels!r}; choose both"
            )
        for name, bits in ((recipe.normalization, self.activation_bits), (recipe.weights, self.weight_bits)):
            if name in FORMATS and bits != FLOAT:
                FORMATS[name].element(bits)
        if recipe.levels == "piecewise" and self.activation_bits < 3:
            raise ValueError("piecewise levels are 0 alone at 2 bits; give 3 bits or more")
        if recipe.weights in FORMATS and "rounding" in recipe.refine:
            raise ValueError(
                f"refine='rounding' needs levels by row, and {recipe.weights} has them by block; leave it out"
            )
        needed = 2**self.activation_bits if self.activation_bits != FLOAT else 0
        if self.from_subset and needed > len(self.candidates):
            words, terms, size = self.universal_set.words, self.universal_set.terms, len(self.candidates)
            raise ValueError(
                f"{self.activation_bits} bits need {needed} points but the universal set of words={words}, "
                f"terms={terms} has {size}; take more words or terms, or fewer bits"
            )

    @property
    def recipe(self) -> Method:
        """The method with the ingredients that this configuration replaces."""
        names = (*CHOICES, "refine")
        return EVERY_METHOD[self.method]._replace(
            **{name: getattr(self, name) for name in names if getattr(self, name) is not None}
        )

    @property
    def float_activations(self) -> bool:
        """Whether the activations of every layer stay float."""
        return all(bits == FLOAT for bits in (self.activation_bits, *(a for _, _, a in self.layer_bits)))

    @property
    def float_weights(self) -> bool:
        """Whether the weights of every layer stay float."""
        return all(bits == FLOAT for bits in (self.weight_bits, *(w for _, w, _ in self.layer_bits)))

    @property
    def from_subset(self) -> bool:
        """Whether the activations' points come from the universal set."""
        return self.recipe.levels == "subset"

    @property
    def candidates(self) -> UniversalSet:
        """The set that points are chosen from: the universal set, doubled if the method says so."""
        doubled = self.universal_set.doubled or EVERY_METHOD[self.method].doubled
        return dataclasses.replace(self.universal_set, doubled=doubled)

    @property
    def block_side(self) -> int:
        """Side in pixels of the blocks that are normalized separately; 0 for other normalizations."""
        return (self.block or BLOCK) if self.recipe.normalization == "block" else 0

    @property
    def observed(self) -> tuple:
        """The kind of statistics that a calibration must hold; equal configurations can share one."""
        normalization = self.recipe.normalization
        if self.float_activations:
            return ("sign",)
        if normalization in ("image", "block"):
            return normalization, self.block_side, self.side_bits, self.universal_set.step
        if normalization not in ("tensor", "channel"):
            return (normalization,)
        by_image = self.recipe.levels == "uniform" and self.recipe.ranges == "percentile"
        return ("percentile", normalization) if by_image else ("static",)

    def __str__(self) -> str:
        own = EVERY_METHOD[self.method]
        said = [f"{self.method} W{self.weight_bits}A{self.activation_bits}"]
        if self.from_subset and self.recipe.selector != own.selector:
            said.append(f"{self.selector} points")
        for name, text in (
            ("normalization", "{} normalization"),
            ("levels", "{} levels"),
            ("ranges", "{} ranges"),
            ("weights", "{} weights"),
            ("block", "blocks of {}"),
        ):
            if getattr(self, name) is not None:
                said.append(text.format(getattr(self, name)))
        if self.refine is not None:
            said.append(f"refine {'+'.join(self.refine) or 'nothing'}")
        if self.side_bits != SIDE_BITS[-1] and self.recipe.normalization in FROM_EACH_INPUT:
            said.append(f"{self.side_bits} bits of side information")
        if len(self.layer_bits) <= LISTED:
            said += [f"{name} W{weight}A{activation}" for name, weight, activation in self.layer_bits]
        else:
            weights, activations = (_span([entry[i] for entry in self.layer_bits]) for i in (1, 2))
            said.append(f"{len(self.layer_bits)} layers W{weights}A{activations}")
        return ", ".join(said)


def _span(bits: list[int]) -> str:
    """Return 4 or 2–6."""
    low, high = min(bits), max(bits)
    return str(low) if low == high else f"{low}–{high}"
