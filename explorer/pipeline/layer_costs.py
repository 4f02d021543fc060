"""What it costs on a device to keep a layer float: time by the engine's profiler, and bytes of weights."""

from __future__ import annotations

import dataclasses
import math

import onnx
import torch

from core import audit_onnx, time_layers
from explorer.choices.catalog import layer_channels
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline.deployment import FLOAT, ONNX, THREADS, Plan, file, offered

RUNS = 5


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One layer in an INT8 and in a float file: milliseconds of one image, and KiB of its weights."""

    int8_ms: float
    float_ms: float
    int8_kib: float
    float_kib: float

    @property
    def more_ms(self) -> float:
        """Return the milliseconds more if the layer stays float; less than 0 where INT8 is the slower one."""
        return self.float_ms - self.int8_ms

    @property
    def more_kib(self) -> float:
        """Return the KiB more of its weights if it stays float."""
        return self.float_kib - self.int8_kib


def layer_costs(plan: Plan, token: Token | None = None) -> dict[str, LayerCost]:
    """Return the cost of each layer, by name, for images of the plan's size: ONNX Runtime, one thread."""
    return _layer_costs(plan._replace(float_layers=()), token=token)


@shared(8)
def _layer_costs(plan: Plan, token: Token) -> dict[str, LayerCost]:
    lr = torch.rand(1, 3, *plan.size, generator=torch.Generator().manual_seed(0))
    found = []
    for variant in (offered(plan.network, ONNX), FLOAT):
        graph = onnx.load_model_from_string(file(plan, variant, token=token))
        token.progress(f"Timing the layers, {variant}", 0.0)
        kib = {
            row.name: math.prod(row.weight_shape) * row.weight_bits / 8 / 1024 for row in audit_onnx(graph)
        }
        found += [_by_layer(time_layers(graph, lr, THREADS, RUNS)), _by_layer(kib)]
        token.check()
    names = [name for name in layer_channels(plan.network) if all(name in part for part in found)]
    return {name: LayerCost(*(found[i][name] for i in (0, 2, 1, 3))) for name in names}


def _by_layer(found: dict[str, float]) -> dict[str, float]:
    """Add up the calls of a layer that runs several times, which files name layer, layer#2, ..."""
    sums: dict[str, float] = {}
    for name, value in found.items():
        layer = name.split("#")[0]
        sums[layer] = sums.get(layer, 0.0) + value
    return sums
