"""What the workers of a sweep compute. An error is handed on as a value: it ends as rows, not the sweep."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from core.analysis.comparison import HR_PIXELS
from core.analysis.cost import cost
from core.analysis.evaluation import evaluate
from core.images import Pair, to_tensor, to_uint8
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.observers import Known, Observer
from core.ptq.quantize import NEVER_CALLED, Calibration, observe_part, quantize_model
from core.ptq.scope import choose_layers


class Failure(NamedTuple):
    """What went wrong: the error's class and its sentence."""

    error: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Network:
    """A network on its way: Dask would take a bare module apart, and its hooks would be lost."""

    model: nn.Module


@dataclasses.dataclass(frozen=True)
class Quantized(Network):
    """A quantized network and what is known of it without an image."""

    facts: dict[str, float]


def handing_on(task: Callable) -> Callable:
    """Let the task return a `Failure` where it, or what it builds on, failed."""

    @functools.wraps(task)
    def run(*args):
        inputs = [x for arg in args for x in (arg if isinstance(arg, list) else [arg])]
        failed = next((x for x in inputs if isinstance(x, Failure)), None)
        if failed is not None:
            return failed
        try:
            return task(*args)
        except Exception as error:
            return failure(error)

    return run


def failure(error: BaseException) -> Failure:
    """In one line."""
    return Failure(type(error).__name__, " ".join(str(error).split()) or "no reason was given")


def pack(image: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) as (H, W, 3) uint8 where that loses nothing, else as it is."""
    small = to_uint8(image)[0]
    return small if torch.equal(to_tensor(small), image) else image.numpy()


def _unpack(array: np.ndarray) -> torch.Tensor:
    return to_tensor(array) if array.dtype == np.uint8 else torch.from_numpy(array.copy())


@handing_on
def network(pickled: bytes) -> Network:
    """Pickles go between the processes of one cluster, which trust each other; none is a file."""
    return Network(pickle.loads(pickled))


@handing_on
def pair(name: str, lr: np.ndarray, hr: np.ndarray) -> Pair:
    return Pair(name, _unpack(lr), _unpack(hr))


@handing_on
def patches(packed: list[np.ndarray]) -> torch.Tensor:
    """(N, 3, h, w) calibration images."""
    return torch.cat([_unpack(array) for array in packed])


@handing_on
def float_psnr(network: Network, image: Pair) -> float:
    """Of the float network, in dB."""
    return evaluate(network.model, [image], _scale(image)).psnr


@handing_on
def observe(
    network: Network, images: torch.Tensor, config: QuantConfig, names: Sequence[str]
) -> dict[str, Observer]:
    """Statistics of the named layers' inputs over some of the calibration images."""
    return observe_part(copy.deepcopy(network.model), images, config, names)


@handing_on
def merge(a: dict[str, Observer], b: dict[str, Observer]) -> dict[str, Observer]:
    """Statistics of both; the inputs may be needed again and are left as they are."""
    merged = copy.deepcopy(a)
    for name, observer in b.items():
        if name in merged:
            merged[name].merge(observer)
        else:
            merged[name] = observer
    return merged


@handing_on
def activation_quantizers(
    observers: dict[str, Observer], config: QuantConfig, names: Sequence[str]
) -> dict[str, Known]:
    """For one configuration: what moves on is small, the statistics stay where they are."""
    found = {}
    for name in names:
        if name in observers:
            observer = copy.copy(observers[name])  # `finish` and its caches change the copy alone
            observer.finish()
            made = None if config.activation_bits == FLOAT else observer.quantizer(config)
            found[name] = Known(made, observer.post_relu)
    return found


@handing_on
def quantize(
    network: Network,
    known: list[dict[str, Known]],
    images: list[torch.Tensor],
    config: QuantConfig,
    layers: tuple[str, ...],
) -> Quantized:
    start, model = time.perf_counter(), network.model
    names, reasons = choose_layers(model, layers or None, images[0][:1])
    observers = {name: observer for part in known for name, observer in part.items() if name in names}
    silent = {name: NEVER_CALLED for name in names if name not in observers}
    if not observers:
        raise ValueError("no layer is quantized; name layers that can be")
    found = Calibration(config, observers, reasons | silent, images)
    quantized = quantize_model(model, found, config, list(layers) if layers else None)
    seconds = time.perf_counter() - start
    height, width = (n // model.scale for n in HR_PIXELS)
    spent = cost(quantized, height, width)
    facts = {"kib": spent.bytes / 1024, "gbitops": spent.bitops / 1e9, "quantize_seconds": seconds}
    facts["effective_weight_bits"] = spent.weight_bits
    facts["effective_activation_bits"] = spent.activation_bits
    return Quantized(quantized, facts)


@handing_on
def score(quantized: Quantized, image: Pair, reference: float) -> dict[str, float]:
    """The numbers of a row. reference: PSNR of the float network in dB."""
    start = time.perf_counter()
    result = evaluate(quantized.model, [image], _scale(image))
    numbers = {"psnr": result.psnr, "ssim": result.ssim, "float_psnr": reference}
    numbers |= {"drop": reference - result.psnr, "seconds": time.perf_counter() - start}
    return numbers | quantized.facts


def _scale(image: Pair) -> int:
    return image.hr.shape[-2] // image.lr.shape[-2]
