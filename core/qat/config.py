"""What a run of quantization-aware training is made of: versions of the method, and its constants."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from core.ptq.config import BITS, FLOAT, QuantConfig


class Version(NamedTuple):
    """What sets a version of the method apart, and its defaults.

    v1's weight of the variance is not known here: with 1e-3 its gradient is as large as v2's. lr is the rate
    of the weights, ranges learn `range_rate` times as fast; both halve `halvings` times, evenly spaced.
    """

    method: str
    penalty: str
    lambda_m: float
    cooperation: str
    regularizer: str
    correction: bool = False
    offsets: bool = False
    lr: float = 5e-4
    range_rate: float = 10.0
    halvings: int = 4


VERSIONS = {
    "v2": Version("odm", "mismatch", 1e-5, "angle", "cooperative", correction=True),
    "v1": Version("odm-v1", "variance", 1e-3, "sign", "cooperative", offsets=True),
    "pams": Version("pams", "mismatch", 1e-5, "angle", "none", lr=1e-4, range_rate=100.0, halvings=3),
}
REGULARIZERS = ("none", "naive", "cooperative")
# Of v2, by the network's class where it is not the version's own (arXiv 2307.13337v2, sec. 4.1).
LAMBDA_M = {"RDN": 1e-6}


@dataclasses.dataclass(frozen=True)
class OdmConfig:
    """All that decides a training run besides network and data.

    bits: of weights and activations. regularizer: "none", "naive" or "cooperative"; correction: of the
    weight clipping; offsets: v1's; lambda_m weighs the regularizer; lr is the rate of the weights, range_rate
    how many times as fast ranges learn; None leaves each to the version (`Version`), lambda_m to the network
    too (`for_network`). patch is the side of an LR patch in pixels. offset_share of the layers get a shift,
    as many a scale. The constants are v2's but for steps and lr: 60,000 at 1e-4 there; for 2,000, 5e-4 is
    better on Kodak. ValueError for anything outside.
    """

    bits: int = 2
    version: str = "v2"
    regularizer: str | None = None
    correction: bool | None = None
    offsets: bool | None = None
    steps: int = 2000
    batch: int = 8
    patch: int = 32
    lr: float | None = None
    range_rate: float | None = None
    lambda_m: float | None = None
    percentile: float = 99.0
    offset_share: float = 0.3
    seed: int = 0

    def __post_init__(self):
        if self.version not in VERSIONS:
            raise ValueError(f"no version {self.version!r}; there are {', '.join(VERSIONS)}")
        if self.bits not in BITS or self.bits == FLOAT:
            raise ValueError(f"bits must be 2 to 8, got {self.bits!r}")
        if self.regularization not in REGULARIZERS:
            raise ValueError(f"no regularizer {self.regularizer!r}; there are {', '.join(REGULARIZERS)}")
        for name in ("steps", "batch", "patch"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number above 0, got {getattr(self, name)!r}")
        for name in ("lr", "range_rate"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)!r}")
        if not self.weight >= 0:
            raise ValueError(f"lambda_m must not be below 0, got {self.weight!r}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile must be above 50 and at most 100, got {self.percentile!r}")
        if not 0 <= self.offset_share <= 1:
            raise ValueError(f"offset_share must be from 0 to 1, got {self.offset_share!r}")

    @property
    def regularization(self) -> str:
        """Out of REGULARIZERS, the version's own unless chosen."""
        return self.regularizer or VERSIONS[self.version].regularizer

    @property
    def weight(self) -> float:
        """lambda_m, the version's own unless chosen."""
        return VERSIONS[self.version].lambda_m if self.lambda_m is None else self.lambda_m

    @property
    def rates(self) -> tuple[float, float]:
        """Of the weights, and of the ranges as a multiple of it; the version's own unless chosen."""
        version = VERSIONS[self.version]
        return self.lr or version.lr, self.range_rate or version.range_rate

    def for_network(self, network: str) -> OdmConfig:
        """Return the same with lambda_m as the paper has it for networks of that class, unless chosen."""
        if self.lambda_m is not None or self.version != "v2" or network not in LAMBDA_M:
            return self
        return dataclasses.replace(self, lambda_m=LAMBDA_M[network])

    @property
    def corrects(self) -> bool:
        """Whether the weight clipping is corrected, as the version does unless chosen."""
        return VERSIONS[self.version].correction if self.correction is None else self.correction

    @property
    def has_offsets(self) -> bool:
        """Whether layers get distribution offsets, as the version does unless chosen."""
        return VERSIONS[self.version].offsets if self.offsets is None else self.offsets

    def constants(self) -> dict:
        """Every field, with what was left to the version said."""
        own = {
            "regularizer": self.regularization,
            "correction": self.corrects,
            "offsets": self.has_offsets,
            "lambda_m": self.weight,
            "lr": self.rates[0],
            "range_rate": self.rates[1],
        }
        return dataclasses.asdict(self) | own

    @property
    def quant_config(self) -> QuantConfig:
        """Of the network that comes out."""
        method = VERSIONS[self.version].method
        return QuantConfig(method, activation_bits=self.bits, weight_bits=self.bits, seed=self.seed)

    def __str__(self) -> str:
        terms = [f"{self.regularization} regularizer".replace("none", "no")]
        terms += ["correction"] * self.corrects + ["offsets"] * self.has_offsets
        return f"{VERSIONS[self.version].method} W{self.bits}A{self.bits}, {', '.join(terms)}"
