"""The best bits of each layer under a budget: errors by layer and bits, a knapsack, and a measurement.

Errors of single layers nearly add up at the picture, as squared errors of independent sources do. So each
layer's effect on the picture is measured once, for weights and activations apart, and for other bits scaled
by the error of the layer's own output. A knapsack then has the best bits. Layers do not quite add up, so the
result is quantized and measured, what each layer really does there corrects its errors, and the best of a few
rounds wins.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from core.analysis.cost import layer_macs
from core.analysis.evaluation import super_resolve
from core.analysis.knapsack import least_error
from core.analysis.sensitivity import exchanged
from core.images import luma
from core.networks.folding import fold_parametrizations
from core.networks.running import run
from core.ptq.audit import NOMINAL, audit
from core.ptq.calibration import batches, recorded, undisturbed
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.quantize import Calibration, calibrate, quantize_model
from core.ptq.scope import Layers
from core.utils.progress import Progress

CANDIDATES = (2, 3, 4, 5, 6, 8)  # bits that a layer may get
UNITS = ("bitops", "bytes")
IMAGES = 4  # calibration images on which the picture is measured
ROUNDS = 3  # allocations that are measured
MOST_CORRECTED = 4  # one round raises or lowers a layer's errors by this factor at most

Parts = tuple[nn.Module, nn.Module]  # a network with its weights alone quantized, and its activations alone


class LayerChoices(NamedTuple):
    """The bits that one layer may get: pairs of weight and activation bits, their costs and errors.

    costs: whole numbers of BitOPs, or of bits stored. errors: mean squared error that they add to the luma of
    the picture, in 8-bit levels.
    """

    bits: list[tuple[int, int]]
    costs: np.ndarray
    errors: np.ndarray


def allocate_bits(
    model: nn.Module,
    calibration: torch.Tensor | Iterable[torch.Tensor] | Calibration,
    config: QuantConfig,
    budget: float = 1.0,
    unit: str = "bitops",
    layers: Layers = None,
    progress: Progress = lambda what, share: None,
) -> QuantConfig:
    """Return `config` with bits by layer, chosen for the smallest error of the picture under a budget.

    budget: the share that the quantized layers may cost of what they cost by `config` with the same bits for
    every layer, in effective BitOPs (with the side information of weights and activations), or with
    unit="bytes" in bytes of weights; then the activations keep their bits. Bits by layer that `config` has
    already are ignored. calibration, layers: as for `quantize_model`; the first IMAGES calibration images
    measure the picture. With a budget of 1 or more the result is never worse than `config` on these.
    ValueError for a budget that even the fewest bits exceed. `progress(what, share)` may raise to cancel.

    >>> import torch
    >>> from core import QuantConfig, allocate_bits, create_model
    >>> model, images = create_model("xlsr", 3), torch.rand(2, 3, 24, 24)
    >>> chosen = allocate_bits(model, images, QuantConfig("mse"), layers=["conv1", "conv2"])
    >>> [chosen.for_layer(name).method for name in ("conv1", "conv2")]
    ['mse', 'mse']
    """
    check_budget(budget)
    return BitAllocator(model, calibration, config, unit, layers, progress).allocate(budget, progress)


def check_budget(budget: float) -> None:
    """Raise ValueError unless the budget is a share above 0."""
    if not 0 < budget < float("inf"):
        raise ValueError(
            f"the budget must be a share above 0 of what the configuration costs, got {budget!r}"
        )


def _solve(table: dict[str, LayerChoices], capacity: int, uniform: QuantConfig) -> QuantConfig:
    """Return the configuration with the least sum of errors."""
    rows = table.values()
    places = least_error([row.costs for row in rows], [row.errors for row in rows], capacity)
    own = tuple((name, *row.bits[i]) for (name, row), i in zip(table.items(), places, strict=True))
    return dataclasses.replace(uniform, layer_bits=own)


class BitAllocator:
    """`allocate_bits` for several budgets: what does not depend on the budget is measured once.

    Arguments as for `allocate_bits`. What was measured stays when `progress` raises. One thread at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        calibration: torch.Tensor | Iterable[torch.Tensor] | Calibration,
        config: QuantConfig,
        unit: str = "bitops",
        layers: Layers = None,
        progress: Progress = lambda what, share: None,
    ):
        if unit not in UNITS:
            raise ValueError(f"no unit {unit!r}; there are {', '.join(UNITS)}")
        self.uniform, self.unit, self._progress = dataclasses.replace(config, layer_bits=()), unit, progress
        if config.weight_bits == FLOAT and config.activation_bits == FLOAT:
            raise ValueError("a float configuration has no bits to allocate; give it some")
        if not isinstance(calibration, Calibration):
            calibration = calibration if isinstance(calibration, torch.Tensor) else list(calibration)
            calibration = calibrate(model, calibration, self.uniform, layers, progress)
        self._model, self._calibration, self._layers = model, calibration, layers
        self._now = ("Measuring the layers at all bits", 0.0)
        if not calibration.observers:
            raise ValueError("no layer is quantized, so there are no bits to allocate; name other layers")
        if calibration.images is None:
            raise ValueError("the calibration keeps no images to measure the picture on; calibrate on a list")
        self._images = list(itertools.islice(_one_by_one(calibration.images), IMAGES))
        self._reference = copy.deepcopy(fold_parametrizations(model)).eval()
        self._pictures = [self._picture(self._reference, image) for image in self._images]
        # Of weights and of activations: bits -> layer -> (error of its output, effective bits); and the
        # network with that side alone quantized, to the uniform bits.
        self._tables: tuple[dict, dict] = ({}, {})
        self._base: list[nn.Module | None] = [None, None]
        self._effects: dict[tuple[str, int], dict[int, float]] = {}

    def allocate(self, budget: float = 1.0, progress: Progress = lambda what, share: None) -> QuantConfig:
        """Return the configuration with the best bits under a budget; see `allocate_bits`."""
        check_budget(budget)
        self._progress = progress
        table = self._choices()
        full = sum(int(own.costs[self._place(own)]) for own in table.values())
        least = sum(int(own.costs.min()) for own in table.values())
        capacity = int(budget * full)
        if capacity < least:
            raise ValueError(
                f"the budget of {100 * budget:g} % is below {100 * least / full:.1f} %, what the fewest bits "
                "cost; raise it"
            )
        tried: dict[QuantConfig, float] = {}
        if budget >= 1:
            tried[self.uniform] = self._error(self._quantized(self.uniform))
        for step in range(ROUNDS):
            self._tell("Choosing the bits of each layer", step / ROUNDS)
            chosen = _solve(table, capacity, self.uniform)
            if chosen in tried:
                break
            network = self._quantized(chosen)
            tried[chosen] = self._error(network)
            if step < ROUNDS - 1:
                table = self._corrected(table, network, chosen, tried[chosen])
        return min(tried, key=tried.get)

    def _tell(self, what: str, share: float) -> None:
        self._now = what, share
        self._progress(what, share)

    def _quantized(self, config: QuantConfig) -> nn.Module:
        """Return the network quantized by `config`."""

        def check(what: str, share: float) -> None:
            self._progress(*self._now)  # may raise to cancel

        return quantize_model(self._model, self._calibration, config, self._layers, check).eval()

    def _error(self, network: nn.Module) -> float:
        """Return the mean squared error of the luma against the float network's, in 8-bit levels."""
        squares = [
            (self._picture(network, image) - picture).square().mean()
            for image, picture in zip(self._images, self._pictures, strict=True)
        ]
        return float(torch.stack(squares).mean())

    def _picture(self, network: nn.Module, image: torch.Tensor) -> torch.Tensor:
        # Not rounded to 8 bits: the effect of one layer is often smaller than that.
        return luma(super_resolve(network, image).clamp(0, 1))

    def _place(self, own: LayerChoices) -> int:
        """Return the place of the uniform configuration's bits."""
        return own.bits.index((self.uniform.weight_bits, self.uniform.activation_bits))

    def _choices(self) -> dict[str, LayerChoices]:
        """Return the choices of every layer, with the errors of the layer alone in the float network."""
        uniform, tables = self.uniform, self._tables
        ladders = [_ladder(uniform, "weight_bits"), _ladder(uniform, "activation_bits")]
        if self.unit == "bytes":
            ladders[1] = [uniform.activation_bits]
        work = [(side, bits) for side in (0, 1) for bits in ladders[side]]
        for done, (side, bits) in enumerate(work):
            if bits in tables[side]:
                continue
            self._tell("Measuring the layers at all bits", done / len(work))
            network = None if bits == FLOAT else self._quantized(_alone(uniform, side, bits))
            if bits == (uniform.weight_bits, uniform.activation_bits)[side]:
                self._base[side] = network
            tables[side][bits] = self._measured(network, side)
        macs = layer_macs(self._reference, *NOMINAL)
        measured = next(t for part in tables for t in part.values() if t)
        names = [name for name in measured if name in macs]  # products of activations keep their bits
        for done, name in enumerate(names):
            for side in (0, 1):
                if (name, side) not in self._effects:
                    self._tell("Quantizing one layer at a time", done / len(names))
                    effects = self._effects_of(name, side, self._base[side], tables[side])
                    self._effects[name, side] = effects
        return {
            name: self._choices_of(name, tables, [self._effects[name, side] for side in (0, 1)], macs[name])
            for name in names
        }

    @torch.no_grad()
    def _measured(self, network: nn.Module | None, side: int) -> dict[str, tuple[float, float]]:
        """Return the squared error of each layer's output and its effective bits; {} for float."""
        if network is None:
            return {}
        rows = {row.name: row for row in audit(network) if not row.reason}
        plain, squares = copy.deepcopy(self._reference), dict.fromkeys(rows, 0.0)

        def record(name: str, x: torch.Tensor) -> None:
            difference = network.get_submodule(name)(x) - plain.get_submodule(name)(x)
            squares[name] += float(difference.square().mean())

        with undisturbed(self._reference), recorded(self._reference, list(rows), record):
            for image in self._images:
                run(self._reference, image)
        return {name: (squares[name], row.effective[side]) for name, row in rows.items()}

    def _effects_of(self, name: str, side: int, base: nn.Module | None, table: dict) -> dict[int, float]:
        """Return the error of the picture by bits of one part of the layer, for bits of the ladder."""
        if base is None or len(table) == 1:  # nothing to choose
            return dict.fromkeys(table, 0.0)
        with exchanged(self._reference, name, base.get_submodule(name)):
            picture = self._error(self._reference)
        own = (self.uniform.weight_bits, self.uniform.activation_bits)[side]
        output = table[own][name][0]
        gain = picture / output if output > 0 else 0.0
        return {bits: gain * rows[name][0] for bits, rows in table.items()}

    def _choices_of(self, name: str, tables, effects, macs: int) -> LayerChoices:
        pairs = list(itertools.product(*effects))
        numel = self._reference.get_submodule(name).weight.numel()
        costs = []
        for pair in pairs:
            weight, activation = (
                float(FLOAT) if bits == FLOAT else tables[side][bits][name][1]
                for side, bits in enumerate(pair)
            )
            costs.append(round(numel * weight if self.unit == "bytes" else macs * weight * activation))
        errors = np.array([sum(effects[side][bits] for side, bits in enumerate(pair)) for pair in pairs])
        return LayerChoices(pairs, np.array(costs, dtype=np.int64), errors)

    def _corrected(
        self, table: dict[str, LayerChoices], network: nn.Module, chosen: QuantConfig, whole: float
    ) -> dict[str, LayerChoices]:
        """Scale each layer's errors by what the layer adds in the quantized network against what it should.

        whole: the network's own error.
        """
        found = {}
        for done, (name, row) in enumerate(table.items()):
            self._tell("Measuring what the layers do together", done / len(table))
            own = chosen.for_layer(name)
            expected = row.errors[row.bits.index((own.weight_bits, own.activation_bits))]
            with exchanged(network, name, copy.deepcopy(self._reference.get_submodule(name))):
                added = whole - self._error(network)
            factor = added / expected if expected > 0 else 1.0
            factor = min(max(factor, 1 / MOST_CORRECTED), MOST_CORRECTED)
            found[name] = row._replace(errors=row.errors * factor)
        return found


def _one_by_one(images: torch.Tensor | Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    for batch in batches(images):
        yield from batch.split(1)


def _alone(config: QuantConfig, side: int, bits: int) -> QuantConfig:
    """Return the configuration with its weights (side 0) or its activations (side 1) alone quantized."""
    weight, activation = (bits, FLOAT) if side == 0 else (FLOAT, bits)
    return dataclasses.replace(config, weight_bits=weight, activation_bits=activation)


def _ladder(config: QuantConfig, field: str) -> Sequence[int]:
    """Return the bits that a layer may get: CANDIDATES that the method allows, and the own ones."""
    own = getattr(config, field)
    if own == FLOAT:
        return [FLOAT]
    return [bits for bits in sorted({*CANDIDATES, own}) if _allowed(config, field, bits)]


def _allowed(config: QuantConfig, field: str, bits: int) -> bool:
    try:
        dataclasses.replace(config, **{field: bits})
    except ValueError:
        return False
    return True
