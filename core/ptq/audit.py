"""An audit of a quantized network: how each layer is quantized, or why it is not."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import nn

from core.ptq.config import FLOAT, QuantConfig
from core.ptq.rounding import stored_weight_bits
from core.ptq.scope import channel_dim_of, has_weights, input_channels
from core.ptq.weight_levels import has_left, quantization_of
from core.quantizers.pams import is_residual
from core.utils.text_table import text_table

NOMINAL = (360, 640)  # height and width of the LR for a 1280x720 image at x2
MOVED = "its weights left their levels and are float again"


class LayerQuantization(NamedTuple):
    """How a layer is quantized, kept on it as `module.quantization`."""

    method: str
    weight_bits: int
    activation_bits: int
    post_relu: bool


@dataclasses.dataclass(frozen=True)
class AuditRow:
    """One layer of a network: its bits (32 = float) and how it is quantized, or why not."""

    name: str
    type: str
    weight_shape: tuple[int, ...]
    method: str
    weight_bits: int
    activation_bits: int
    post_relu: bool | None
    constants: int  # how many numbers its activation quantizer stores: range ends, levels, points
    reason: str  # why it is float; empty for a quantized layer
    # Effective bits of a weight and of an activation, for an input of NOMINAL pixels; 32 is float.
    effective: tuple[float, float] = (float(FLOAT), float(FLOAT))
    note: str = ""  # a warning about a quantized layer


class Audit(list):
    """A list of AuditRow that prints as a table, with a description of the scope below it."""

    scope = ""

    def __str__(self) -> str:
        head = ("layer", "type", "weight", "method", "bits", "effective", "input", "constants", "")
        body = [
            (
                row.name,
                row.type,
                "x".join(map(str, row.weight_shape)),
                row.method,
                "float" if row.reason else _bits(row),
                "" if row.reason or not row.weight_shape else "{:.2f}, {:.2f}".format(*row.effective),
                {True: "post-ReLU", False: "signed", None: ""}[row.post_relu],
                "" if row.reason else str(row.constants),
                row.reason or row.note,
            )
            for row in self
        ]
        return text_table([head, *body]) + (f"\nQuantized: {self.scope}." if self.scope else "")


def audit(model: nn.Module) -> Audit:
    """List every layer with weights: its bits and method, or why it stays float. Prints as a table.

    The bits are those of the weights now: 32 where training moved them off their levels.

    >>> import torch
    >>> from core import QuantConfig, audit, create_model, quantize_model
    >>> model, images = create_model("xlsr", 3), torch.rand(2, 3, 24, 24)
    >>> layers = ["conv2", "conv4"]
    >>> rows = audit(quantize_model(model, images, QuantConfig("minmax", 8, 4), layers))
    >>> [(row.name, row.weight_bits, row.activation_bits) for row in rows if not row.reason]
    [('conv2', 4, 8), ('conv4', 4, 8)]
    """
    reasons = getattr(model, "float_reasons", {})
    rows = Audit()
    rows.scope = model.scope_in_words if hasattr(model, "quant_config") else ""
    for name, module in model.named_modules():
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        done, note = quantization_of(module), MOVED if has_left(module) else ""
        if is_residual(module):
            sides = module.residual_quantizer
            kind, method = f"{type(module).__name__}, skip and output", model.quant_config.method
            rows.append(AuditRow(name, kind, (), method, FLOAT, sides.skip.bits, None, 2, ""))
            continue
        if done is None and channel_dim_of(module) is None and name not in reasons:
            continue
        shape = tuple(weight.shape) if weight is not None else ()
        if done is None:
            reason = reasons.get(name, "the model is not quantized")
            rows.append(AuditRow(name, type(module).__name__, shape, "", FLOAT, FLOAT, None, 0, reason))
        else:
            quantizer = getattr(module, "activation_quantizer", None)
            constants = sum(t.numel() for t in quantizer.state_dict().values()) if quantizer else 0
            effective = _effective(module, quantizer, model.quant_config)
            reason = note if done.weight_bits == done.activation_bits == FLOAT else ""
            kind = type(module).__name__
            rows.append(AuditRow(name, kind, shape, *done, constants, reason, effective, note))
    return rows


def _bits(row: AuditRow) -> str:
    """Return W4A4, or A4 for a product of activations."""
    weights = f"W{row.weight_bits}" if row.weight_shape else ""
    return f"{weights}A{row.activation_bits}"


def _effective(module: nn.Module, quantizer: nn.Module | None, config: QuantConfig) -> tuple[float, float]:
    """Return the effective bits of a weight, and of an activation for an input of NOMINAL pixels."""
    weighted = has_weights(module)
    weights = sum(stored_weight_bits(module, config)) / module.weight.numel() if weighted else float(FLOAT)
    bits, channels = module.quantization.activation_bits, input_channels(module)
    if quantizer is None:
        return weights, float(bits)
    height, width = NOMINAL
    shape = (1, channels, height, width) if channel_dim_of(module) == -3 else (1, height * width, channels)
    x = torch.empty(shape, device="meta")
    return weights, bits + quantizer.side_information(x) / x.numel()


def is_quantized(model: nn.Module) -> bool:
    """Return whether any layer of the network is quantized."""
    return any(hasattr(module, "quantization") for module in model.modules())


def is_dynamic(model: nn.Module) -> bool:
    """Return whether a quantizer takes its normalization from each input.

    If so, the SR image of a crop or tile differs from that part of the whole SR image.
    """
    return any(getattr(module, "dynamic", False) for module in model.modules())
