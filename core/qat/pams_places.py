"""Where PAMS quantizes a network, while it is trained and for good."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from core.ptq.calibration import recorded
from core.ptq.quantize import attach_quantizer
from core.ptq.scope import channel_dim_of
from core.quantizers.pams import (
    EPOCHS,
    PamsRange,
    ResidualQuantizer,
    attach_residual_quantizer,
    attention_loss,
    residual_blocks,
)


class PamsPlaces:
    """PAMS's quantizers of activations in `model`, and the features that its loss compares.

    layers: those whose weights are quantized; the input of each is too, but of the first in a block, which is
    the skip's. The features are what the module named by `model.features_into` receives. ValueError for a
    network without residual blocks or such a name.
    """

    def __init__(self, model: nn.Module, reference: nn.Module, layers: Sequence[str], bits: int):
        into = getattr(model, "features_into", None)
        self.blocks = list(residual_blocks(model))
        if into is None:
            raise ValueError(
                f"PAMS compares features, and {type(model).__name__} does not say which module receives "
                "them; set features_into to its name"
            )
        self.model, self.reference = model, reference
        self._ranges: list[PamsRange] = []
        for name in layers:
            if not self._is_first(name, layers):
                module = model.get_submodule(name)
                attach_quantizer(module, self._range(bits, channel_dim_of(module)))
        for name in self.blocks:
            quantizer = ResidualQuantizer(self._range(bits, -3), self._range(bits, -3))
            attach_residual_quantizer(model.get_submodule(name), quantizer)
        self._into, self._features = into, torch.empty(0)
        model.get_submodule(into).register_forward_pre_hook(self._keep)

    def _is_first(self, name: str, layers: Sequence[str]) -> bool:
        """Whether the layer is the first of its block, whose input is the block's own."""
        block = next((b for b in self.blocks if name.startswith(f"{b}.")), None)
        return block is not None and name == next(n for n in layers if n.startswith(f"{block}."))

    def _range(self, bits: int, channel_dim: int) -> PamsRange:
        self._ranges.append(PamsRange(bits, channel_dim))
        return self._ranges[-1]

    def _keep(self, module: nn.Module, args: tuple) -> None:
        self._features = args[0]

    def come_to(self, step: int, steps: int) -> bool:
        """Say how far the training is; whether the ranges still follow their inputs.

        They do in the first of PAMS's epochs.
        """
        epoch = 1 + EPOCHS * step // steps
        for learned in self._ranges:
            learned.epoch = epoch
        return any(learned.starting for learned in self._ranges)

    def attention_loss(self, lr: torch.Tensor) -> torch.Tensor:
        """Return that of the features of the model's last forward, on the same images."""
        wanted: list[torch.Tensor] = []
        with torch.no_grad(), recorded(self.reference, [self._into], lambda _, x: wanted.append(x)):
            self.reference(lr)
        return attention_loss(self._features, wanted[0])

    def highs(self) -> dict[str, list[float]]:
        """Return the learned ranges by module: one of a layer, those of skip and output of a block."""
        found = {}
        for name, module in self.model.named_modules():
            if isinstance(getattr(module, "activation_quantizer", None), PamsRange):
                found[name] = [module.activation_quantizer.high.item()]
            if name in self.blocks:
                learned = module.residual_quantizer
                found[name] = [learned.skip.high.item(), learned.branch.high.item()]
        return found

    def freeze(self, done: nn.Module) -> None:
        """Quantize the blocks of a float copy for good, in place."""
        for name in self.blocks:
            learned = self.model.get_submodule(name).residual_quantizer
            frozen = ResidualQuantizer(learned.skip.frozen(), learned.branch.frozen())
            attach_residual_quantizer(done.get_submodule(name), frozen)
