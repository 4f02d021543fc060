"""Quantization-aware training, step by step: ODM v1 and v2 (arXiv 2307.13337), and PAMS.

A float network gets fake quantization with learned ranges. Each step computes the gradients of reconstruction
and of the regularizer separately, and adds the part of the latter that cooperates. The result is a quantized
network like those of `core.quantize_model`. PAMS is explained in `core.quantizers.pams`.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from core.analysis.mismatch import mismatch
from core.networks.folding import fold_parametrizations
from core.networks.held_weights import refuse_written
from core.ptq.calibration import recorded
from core.ptq.quantize import attach_quantizer
from core.ptq.scope import Layers, channel_dim_of, choose_weighted, input_channels, scope_of
from core.qat.captured_step import Captured
from core.qat.config import VERSIONS, OdmConfig
from core.qat.fake_quantization import ClippedWeight, LearnedRange
from core.qat.frozen import freeze
from core.qat.odm_loss import COOPERATION, PENALTIES
from core.qat.pams_places import PamsPlaces
from core.quantizers.pams import ATTENTION, PamsRange, PamsWeight
from core.training.loop import read_state, save_state
from core.training.patches import PatchSampler

RANGE_BATCHES = 4  # batches for the initial ranges and the choice of the layers with offsets


class Gradients(NamedTuple):
    """The gradients of one step by parameter name, and the loss in the range of the network's features."""

    loss: torch.Tensor
    penalties: dict[str, torch.Tensor]  # layer -> its term of the regularizer, empty unless asked for
    reconstruction: dict[str, torch.Tensor]
    regularizer: dict[str, torch.Tensor]


class QuantizedTraining:
    """A copy of a float network with fake quantization in it, its optimizer, and its present step.

    layers: as in `core.quantize_model`. ValueError for a network without a layer to quantize.
    """

    def __init__(self, model: nn.Module, sampler: PatchSampler, config: OdmConfig, layers: Layers = None):
        config = config.for_network(type(model).__name__)
        self.config, self.sampler, self.step = config, sampler, 0
        self.reference = fold_parametrizations(model).eval()
        self.model = copy.deepcopy(self.reference).to(memory_format=torch.channels_last)
        self.scope_in_words = scope_of(self.reference, layers)
        self.device = next(model.parameters()).device
        batches = [self.batch(config.steps + i)[0] for i in range(RANGE_BATCHES)]
        self.layers, self.reasons = choose_weighted(self.model, layers, batches[0][:1])
        ranges = _first_ranges(self.model, batches, self.layers, config.percentile)
        self.layers = [name for name in self.layers if name in ranges]
        if not self.layers:
            raise ValueError("the network has no layer to quantize that it calls; choose others")
        refuse_written(self.reference, self.layers, batches[0][:1])
        self.started: dict[str, list[float]] = {}  # PAMS's first ranges
        self.pams = self._prepare_pams(batches) if config.version == "pams" else None
        if self.pams is None:
            self._prepare(ranges, _offset_layers(self.reference, batches, self.layers, config))
        self.model.train()
        slow, fast = [], []
        for name, parameter in self.trained():
            (fast if _is_range(name) else slow).append(parameter)
        lr, range_rate = config.rates
        groups = [{"params": slow, "rate": 1.0}, {"params": fast, "rate": range_rate}]
        on_gpu = self.device.type == "cuda"
        for group in groups if on_gpu else ():
            group["lr"] = torch.tensor(lr, device=self.device)  # separate tensors, which `advance` overwrites
        self.optimizer = torch.optim.Adam(groups, lr=lr, capturable=on_gpu)
        self._captured: dict[tuple[bool, bool], Captured] = {}

    def _prepare(self, ranges: dict[str, tuple[float, float]], offsets: dict[str, set[str]]) -> None:
        config = self.config
        for name in self.layers:
            module = self.model.get_submodule(name)
            shape = (input_channels(module),)
            learned = LearnedRange(
                *ranges[name],
                config.bits,
                channel_dim_of(module),
                shift=torch.zeros(shape) if "shift" in offsets[name] else None,
                scale=torch.ones(shape) if "scale" in offsets[name] else None,
            )
            attach_quantizer(module, learned)
            clipped = ClippedWeight(config.bits, config.corrects, config.percentile).to(self.device)
            parametrize.register_parametrization(module, "weight", clipped)

    def _prepare_pams(self, batches: Sequence[torch.Tensor]) -> PamsPlaces:
        """Add PAMS's quantizers at its places; their ranges start from one batch."""
        places = PamsPlaces(self.model, self.reference, self.layers, self.config.bits)
        for name in self.layers:
            weight = PamsWeight(self.config.bits).to(self.device)
            parametrize.register_parametrization(self.model.get_submodule(name), "weight", weight)
        places.come_to(0, self.config.steps)
        with torch.no_grad():
            self.model.eval()(batches[0])
        self.started = places.highs()
        return places

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the name and parameter of everything that learns."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def quantizers(self) -> dict[str, LearnedRange | PamsRange]:
        """Return each layer's quantizer of activations; the first conv of each block has none in PAMS."""
        layers = {name: self.model.get_submodule(name) for name in self.layers}
        return {n: m.activation_quantizer for n, m in layers.items() if hasattr(m, "activation_quantizer")}

    def weight_clipping(self) -> dict[str, ClippedWeight | PamsWeight]:
        """Return each layer's quantizer of weights."""
        return {name: self.model.get_submodule(name).parametrizations.weight[0] for name in self.layers}

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the LR and HR patches of a step."""
        pair = self.sampler.batch(self.config.batch, self.config.seed, step, self.device)
        return tuple(t.to(memory_format=torch.channels_last) for t in pair)

    def gradients(self, regularizer: bool) -> Gradients:
        """Return the gradients of the present step, the regularizer's only if asked for.

        On a GPU they are valid until the next call. FloatingPointError if the loss is not finite.
        """
        starting = self.pams is not None and self.pams.come_to(self.step, self.config.steps)
        case = regularizer, starting
        if case not in self._captured:
            self._captured[case] = Captured(functools.partial(self._gradients, regularizer))
        found = self._captured[case](*self.batch(self.step))
        if not torch.isfinite(found.loss):
            raise FloatingPointError(f"the loss is {found.loss.item()} at step {self.step}; lower lr")
        return found

    def _gradients(self, regularizer: bool, lr: torch.Tensor, hr: torch.Tensor) -> Gradients:
        penalty = PENALTIES[VERSIONS[self.config.version].penalty] if regularizer else None
        for quantizer in self.quantizers().values():
            quantizer.penalty, quantizer.penalties = penalty, []
        # As in the authors' code, the loss is in the range of the features: 0 to 255 for EDSR's own weights.
        loss = (self.model(lr) - hr).abs().mean() * _rgb_range(self.model)
        if self.pams is not None:
            loss = loss + ATTENTION * self.pams.attention_loss(lr)
        names, parameters = zip(*self.trained(), strict=True)
        penalties = {}
        found: tuple = ()
        if regularizer:
            penalties = {name: sum(q.penalties) for name, q in self.quantizers().items()}
            found = torch.autograd.grad(
                sum(penalties.values()), parameters, retain_graph=True, allow_unused=True
            )
        main = torch.autograd.grad(loss, parameters, allow_unused=True)
        by_name = [
            {name: grad for name, grad in zip(names, grads, strict=False) if grad is not None}
            for grads in (main, found)
        ]
        penalties = {name: value.detach() for name, value in penalties.items()}
        return Gradients(loss.detach(), penalties, *by_name)

    def advance(self, gradients: Gradients) -> None:
        """Take one step of Adam on lambda_R = 1 times reconstruction and the regularizer's cooperating part.

        The parameters of quantizers (ranges, gamma, offsets) follow reconstruction alone.
        """
        halvings = VERSIONS[self.config.version].halvings * self.step // self.config.steps
        for group in self.optimizer.param_groups:
            rate = self.config.rates[0] * group["rate"] * 0.5**halvings
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        captured = next((c for c in self._captured.values() if c.result is gradients), None)
        if captured is None:
            self._update(gradients)
        else:
            captured.follow(self._update)
        self.step += 1

    def _update(self, gradients: Gradients) -> None:
        config = self.config
        mode = "naive" if config.regularization == "naive" else VERSIONS[config.version].cooperation
        for name, parameter in self.trained():
            parameter.grad = gradients.reconstruction.get(name)
            if config.regularization == "none" or parameter.grad is None or _is_quantizers(name):
                continue
            if name in gradients.regularizer:
                part = COOPERATION[mode](parameter.grad, gradients.regularizer[name])
                parameter.grad = parameter.grad + config.weight * part
        self.optimizer.step()

    def save(self, path: Path, extra: dict) -> None:
        """Write everything that `resume` needs; `extra` (plain values and tensors) comes back from it."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "extra": extra}
        state |= {"step": self.step, "config": dataclasses.asdict(self.config), "layers": self.layers}
        save_state(state | {"data": self.sampler.checksum}, path)

    def resume(self, path: Path) -> dict:
        """Continue where `save` was called and return its `extra`; ValueError for the file of another run."""
        saved = read_state(path, self.device)
        for key, own in (("config", dataclasses.asdict(self.config)), ("layers", self.layers)):
            if saved[key] != own:
                raise ValueError(f"{path} was made with {key} {saved[key]}; choose another --out")
        if saved["data"] != self.sampler.checksum:
            raise ValueError(f"{path} was made with other images; choose another --out")
        self.model.load_state_dict(saved["model"])
        own = [{key: group[key] for key in ("lr", "capturable")} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, device_bound in zip(self.optimizer.param_groups, own, strict=True):
            group.update(device_bound)  # the run may have begun on another device
        self.step = saved["step"]
        return saved["extra"]

    @torch.no_grad()
    def quantized(self) -> nn.Module:
        """Return the network as it is now, quantized for good, like those of `core.quantize_model`.

        gamma and the percentile fold into the weights, offsets into the activations' quantizer.
        """
        done = copy.deepcopy(self.reference)
        state = {k: v for k, v in self.model.state_dict().items() if k in done.state_dict()}
        done.load_state_dict(done.state_dict() | state)
        learned = self.quantizers()
        for name in self.layers:
            weight = self.model.get_submodule(name).weight
            freeze(done.get_submodule(name), weight, learned.get(name), self.config)
        if self.pams is not None:
            self.pams.freeze(done)
        done.float_reasons, done.quant_config = self.reasons, self.config.quant_config
        done.scope_in_words = self.scope_in_words
        return done.eval()


def _is_quantizers(name: str) -> bool:
    """Return whether the parameter belongs to a quantizer, not to the network."""
    return "_quantizer." in name or name.endswith(".gamma")


def _is_range(name: str) -> bool:
    return "_quantizer." in name and name.endswith((".low", ".high"))


def _rgb_range(model: nn.Module) -> float:
    """Return the range of the network's features; 1 if it does not state one."""
    value = getattr(model, "rgb_range", 1.0)
    return float(getattr(value, "value", value))


@torch.no_grad()
def _first_ranges(
    model: nn.Module, batches: Sequence[torch.Tensor], layers: Sequence[str], percentile: float
) -> dict[str, tuple[float, float]]:
    """Return each layer's l and u: the lower and upper percentile of its input, averaged over the images."""
    ends: dict[str, list[torch.Tensor]] = {}
    shares = torch.tensor([100 - percentile, percentile]) / 100

    def record(name: str, x: torch.Tensor) -> None:
        for image in x:
            ends.setdefault(name, []).append(torch.quantile(image.flatten().float(), shares.to(x.device)))

    with recorded(model, layers, record):
        for batch in batches:
            model.eval()(batch)
    return {name: tuple(torch.stack(parts).mean(0).tolist()) for name, parts in ends.items()}


def _offset_layers(
    model: nn.Module, batches: Sequence[torch.Tensor], layers: Sequence[str], config: OdmConfig
) -> dict[str, set[str]]:
    """Return each layer's offsets (v1): shifts where channel means differ most, scales where deviations."""
    chosen: dict[str, set[str]] = {name: set() for name in layers}
    number = round(config.offset_share * len(layers))
    if not config.has_offsets or not number:
        return chosen
    found = mismatch(model, batches, layers)
    for offset, field in (("shift", "mean_channels"), ("scale", "deviation_channels")):
        for name in sorted(layers, key=lambda name: -getattr(found[name], field))[:number]:
            chosen[name].add(offset)
    return chosen
