"""What comes out of quantization-aware training, and what it started from, as networks quantized for good."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import nn

from core.ptq.audit import LayerQuantization
from core.ptq.config import FLOAT
from core.ptq.quantize import attach_quantizer
from core.ptq.scope import channel_dim_of, scope_of
from core.ptq.weight_levels import note_levels
from core.qat.config import OdmConfig
from core.qat.fake_quantization import ClippedWeight, LearnedRange
from core.quantizers.pams import PamsRange, PamsWeight, ResidualQuantizer, attach_residual_quantizer


@torch.no_grad()
def quantized_before(model: nn.Module, card: dict) -> nn.Module:
    """What the run of a card (`core.qat.run`) started from, made anew from the float network.

    The ranges are those of the record, to four digits; gamma and offsets begin by doing nothing.
    """
    fields = {field.name for field in dataclasses.fields(OdmConfig)}
    config = OdmConfig(**{name: value for name, value in card.items() if name in fields})
    record = card["record"]
    done = copy.deepcopy(model).eval()
    clipped = ClippedWeight(config.bits, config.corrects, config.percentile)
    clipped = PamsWeight(config.bits) if config.version == "pams" else clipped
    learned: dict[str, LearnedRange | PamsRange] = {}
    for i, name in enumerate(record["layers"]):
        ends = record["low"][0][i], record["high"][0][i]
        learned[name] = LearnedRange(*ends, config.bits, channel_dim_of(done.get_submodule(name)))
    for name, highs in card.get("started", {}).items():
        places = [PamsRange(config.bits, -3, high=high) for high in highs]
        if len(places) == 2:
            frozen = ResidualQuantizer(*(place.frozen() for place in places))
            attach_residual_quantizer(done.get_submodule(name), frozen)
        else:
            learned[name] = places[0]
    for name in card.get("quantized_layers", record["layers"]):
        module = done.get_submodule(name)
        freeze(module, clipped(module.weight), learned.get(name), config)
    done.float_reasons, done.quant_config = {}, config.quant_config
    done.scope_in_words = scope_of(model, record["layers"])
    return done


def freeze(
    module: nn.Module, weight: torch.Tensor, learned: LearnedRange | PamsRange | None, config: OdmConfig
) -> None:
    """Quantize one layer for good, in place; its input stays float where nothing is learned for it."""
    own = weight.detach().clone().contiguous()
    module.weight = nn.Parameter(own, requires_grad=module.weight.requires_grad)
    method, bits = config.quant_config.method, config.bits
    if learned is None:
        module.quantization = LayerQuantization(method, bits, FLOAT, False)
    else:
        attach_quantizer(module, learned.frozen())
        module.quantization = LayerQuantization(method, bits, bits, learned.post_relu)
    note_levels(module)
