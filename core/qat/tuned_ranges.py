"""Ranges that learn while all else stays: of activations, and of weights at the values of the float network.

The second stage of 2DQuant (arXiv 2406.06649) in modules; `core.qat.range_tuning` trains them.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

from core.networks.folding import fold_parametrizations
from core.networks.held_weights import is_held
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.methods import METHODS
from core.ptq.weight_levels import note_levels, quantization_of
from core.qat.fake_quantization import NARROWEST, FakeQuantize
from core.quantizers.uniform import UniformQuantizer, by_channel
from core.quantizers.weights import WEIGHTS, from_rows, weight_rows

UNIFORM_WEIGHTS = ("minmax", "mse", "2dquant")  # rules whose levels are uniform between two ends
COARSE = 2**4 - 1  # steps of a range at 4 bits, for which the learning rate was chosen


def is_tunable(config: QuantConfig) -> bool:
    """Return whether `tune_ranges` takes networks of this configuration: static, with uniform levels.

    >>> from core import QuantConfig
    >>> from core.qat.tuned_ranges import is_tunable
    >>> is_tunable(QuantConfig("mse")), is_tunable(QuantConfig("dfsq"))
    (True, False)
    """
    recipe = config.recipe
    static = recipe.normalization in ("tensor", "channel") and recipe.levels == "uniform"
    return static and config.method in METHODS and not config.float_activations


class TunedEnds(nn.Module):
    """The ends l and u of ranges, as learned moves from where they started.

    low, high: () or (C,). relative: a move of 1 is the width of the range at the start, or 15 of its steps
    where these are finer than at 4 bits, so that one learning rate fits layers whose values are of any size,
    and any number of bits; otherwise it is 1, as published.
    """

    def __init__(self, low: torch.Tensor, high: torch.Tensor, bits: int, relative: bool):
        super().__init__()
        self.register_buffer("start_low", low.detach().clone())
        self.register_buffer("start_high", high.detach().clone())
        width = (high - low).detach().clamp_min(NARROWEST) * min(1, COARSE / (2**bits - 1))
        self.register_buffer("unit", width if relative else torch.ones_like(width))
        self.move_low = nn.Parameter(torch.zeros_like(low))
        self.move_high = nn.Parameter(torch.zeros_like(high))

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return l and u."""
        return self.start_low + self.unit * self.move_low, self.start_high + self.unit * self.move_high


class TunedActivation(nn.Module):
    """A static uniform quantizer of activations whose ends learn."""

    dynamic = False

    def __init__(self, quantizer: UniformQuantizer, relative: bool):
        super().__init__()
        self.bits, self.channel_dim = quantizer.bits, quantizer.channel_dim
        self.ends = TunedEnds(quantizer.low, quantizer.high, quantizer.bits, relative)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the levels, of its shape."""
        low, high = (by_channel(end.to(x.dtype), x, self.channel_dim) for end in self.ends())
        return FakeQuantize.apply(x, low, high, self.bits)

    @torch.no_grad()
    def frozen(self) -> UniformQuantizer:
        """Return the static quantizer with the same output."""
        low, high = self.ends()
        return UniformQuantizer(low, torch.maximum(high, low + NARROWEST), self.bits, self.channel_dim)


class TunedWeight(nn.Module):
    """A quantizer of one layer's weights between ends that learn; a parametrization of the float weight.

    low, high: () for the tensor or (R,) for the rows of `weight_rows`.
    """

    def __init__(self, low: torch.Tensor, high: torch.Tensor, bits: int, module: nn.Module, relative: bool):
        super().__init__()
        self.bits = bits
        self.ends = TunedEnds(low, high, bits, relative)
        rows = torch.arange(len(weight_rows(module)))[:, None].expand_as(weight_rows(module))
        self.register_buffer("row", from_rows(rows.contiguous(), module).to(low.device))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its levels."""
        low, high = (end if end.ndim == 0 else end[self.row] for end in self.ends())
        return FakeQuantize.apply(weight, low, high, self.bits)


class TunedNetwork:
    """A quantized network whose ranges learn, and the float network that it learns from.

    model, quantized: the float network and what `quantize_model` made of it; both stay as they are. Weights
    that were rounded for their layer's input (`refine`), that are held, or whose levels are not uniform keep
    their values. ValueError for a network that is not static with uniform levels.
    """

    def __init__(self, model: nn.Module, quantized: nn.Module, relative: bool):
        self._quantized = quantized
        self.reference = copy.deepcopy(fold_parametrizations(model)).eval().requires_grad_(False)
        self.network = copy.deepcopy(quantized).eval().requires_grad_(False)
        self.layers = [n for n, m in quantized.named_modules() if hasattr(m, "quantization")]
        floats = dict(self.reference.named_modules())
        if not self.layers or any(name not in floats for name in self.layers):
            raise ValueError("tuning needs a float network and what quantize_model made of it")
        self.activations: dict[str, TunedActivation] = {}
        self.weights: dict[str, TunedWeight] = {}
        for name in self.layers:
            self._tune_activations(name, relative)
            self._tune_weights(name, floats[name], quantized.quant_config, relative)

    def _tune_activations(self, name: str, relative: bool) -> None:
        module = self.network.get_submodule(name)
        quantizer = getattr(module, "activation_quantizer", None)
        if quantizer is None:  # float activations
            return
        if type(quantizer) is not UniformQuantizer:
            raise ValueError(
                f"tuning needs uniform levels between constant ends, and {name} has a "
                f"{type(quantizer).__name__}; quantize with a static method such as 2dquant or mse"
            )
        module.activation_quantizer = self.activations[name] = TunedActivation(quantizer, relative)

    def _tune_weights(self, name: str, plain: nn.Module, config: QuantConfig, relative: bool) -> None:
        module, rule = self.network.get_submodule(name), config.recipe.weights
        bits = quantization_of(module).weight_bits
        if bits == FLOAT or rule not in UNIFORM_WEIGHTS or config.recipe.refine or is_held(module):
            return
        levels = WEIGHTS[rule].levels(weight_rows(plain), bits, config.candidates)
        low, high = levels[:, 0].contiguous(), levels[:, -1].contiguous()
        if not WEIGHTS[rule].by_row:
            low, high = low[0], high[0]
        self.weights[name] = TunedWeight(low, high, bits, plain, relative)
        module.weight = nn.Parameter(plain.weight.detach().clone(), requires_grad=False)
        parametrize.register_parametrization(module, "weight", self.weights[name], unsafe=True)

    def parameters(self) -> list[nn.Parameter]:
        """Return all moves, in a fixed order."""
        parts = (*self.activations.values(), *self.weights.values())
        return [parameter for part in parts for parameter in part.parameters()]

    @torch.no_grad()
    def frozen(self, scope: str) -> nn.Module:
        """Return the network with the present ranges, quantized for good; scope: its description."""
        done = copy.deepcopy(self._quantized)
        for name, tuned in self.activations.items():
            module = done.get_submodule(name)
            module.activation_quantizer = tuned.frozen().train(module.training)
        for name in self.weights:
            module, own = done.get_submodule(name), self.network.get_submodule(name).weight
            module.weight = nn.Parameter(own.detach().clone(), requires_grad=module.weight.requires_grad)
        note_levels(done)
        done.scope_in_words = scope
        return done
