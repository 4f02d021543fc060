"""Networks that are quantized statically to 8 bits already: their weights and ranges, for INT8 files."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from core.deploy.onnx_files import layer_nodes
from core.networks.running import check_network
from core.ptq.audit import is_quantized
from core.ptq.weight_levels import quantization_of
from core.quantizers.uniform import UniformQuantizer

if TYPE_CHECKING:
    import onnx

BITS = 8
FIRST, LAST = -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1  # codes of weights
NEAR = 1e-3  # of a step: float32 has rounded the levels
NOTHING = 1e-12  # a step so small that all weights are 0
Ranges = dict[str, tuple[float, float]]  # lowest and highest value, of a layer's input or a tensor


def opened(model: nn.Module) -> tuple[nn.Module, Ranges]:
    """Return a copy that computes in float with the weights of `model`, and the range of each layer's input.

    A float network is returned as it is, without ranges. ValueError for a quantized one that no INT8 file
    can hold: one with other bits than 8, or with activations that have no range for the whole tensor.
    """
    check_network(model)
    if not is_quantized(model):
        return model, {}
    done, ranges = copy.deepcopy(model), Ranges()
    for name, module in done.named_modules():
        if (how := quantization_of(module)) is None:
            continue
        quantizer = getattr(module, "activation_quantizer", None)
        whole = type(quantizer) is UniformQuantizer and quantizer.low.ndim == 0
        if not whole or (how.weight_bits, how.activation_bits) != (BITS, BITS):
            raise ValueError(
                f"an INT8 file has 8 bits and one range a tensor, and {name} is quantized by {how.method} to "
                f"W{how.weight_bits}A{how.activation_bits}; give the float network, or one quantized by "
                "minmax or another static method at W8A8"
            )
        ranges[name] = float(quantizer.low), float(quantizer.high)
        module.activation_quantizer = nn.Identity()
        del module.quantization
    return done, ranges


def as_they_are(graph: onnx.GraphProto, ranges: Ranges) -> dict[str, list[dict]]:
    """Return ranges of inputs and levels of weights by tensor, for ONNX Runtime's quantizer.

    graph: of the network from `opened`. Where several layers read one tensor, it has the widest of their
    ranges. Weights whose levels are not whole steps from 0 get symmetric levels.
    """
    from onnx import numpy_helper

    found: dict[str, list[dict]] = {}
    reading: list[tuple[str, tuple[float, float]]] = []
    for node, weight in layer_nodes(graph):
        if (name := node.name.split("#")[0]) in ranges:
            reading.append((node.input[0], ranges[name]))
            if node.op_type == "Conv":  # whose first dimension is the outputs'
                found[weight.name] = _levels(numpy_helper.to_array(weight))
    for tensor, (low, high) in widest(reading).items():
        found[tensor] = [{"rmin": np.float32(low), "rmax": np.float32(high)}]
    return found


def widest(reading: Iterable[tuple[str, tuple[float, float]]]) -> Ranges:
    """Return for each tensor the widest of the ranges of the layers that read it."""
    found: Ranges = {}
    for tensor, (low, high) in reading:
        least, most = found.get(tensor, (low, high))
        found[tensor] = min(low, least), max(high, most)
    return found


def _levels(weight: np.ndarray) -> list[dict]:
    """Return the step and the code of 0 of each output channel of a weight (R, C, H, W)."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    found = [_whole_steps(row) or (np.abs(row).max() / LAST, 0) for row in rows]
    usual = float(np.median([step for step, _ in found]))  # for channels without weights, which have a bias
    return [
        {"axis": 0, "scale": np.float32(step if step > NOTHING else usual), "zero_point": np.int8(zero)}
        for step, zero in found
    ]


def _whole_steps(row: np.ndarray) -> tuple[float, int] | None:
    """Return the step and the code of 0 of weights on levels that are whole steps from 0; None for others."""
    values = np.unique(row)
    gaps = np.diff(values)
    gaps = gaps[gaps > NEAR * np.abs(values).max() / LAST]
    if not len(gaps):
        return None
    for share in range(1, 2**BITS):  # between few weights the smallest gap may be several steps
        codes = np.rint(values * share / gaps.min())
        if np.ptp(codes) > LAST - FIRST:
            return None
        step = float(values @ codes / (codes @ codes))
        zero = int(min(max(0, FIRST - codes.min()), LAST - codes.max()))
        if np.abs(values - step * codes).max() <= NEAR * step and zero >= FIRST:
            return step, zero
    return None
