"""The tasks that the workers of a sweep compute; errors are returned as values and end up in rows."""

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
from core.ptq.calibrated import NEVER_CALLED, Calibration
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.known import Known
from core.ptq.observers import Observer
from core.ptq.quantize import observe_part, quantize_model
from core.ptq.scope import choose_layers
from core.qat.range_tuning import PATCH, tune_ranges


class Failure(NamedTuple):
    """An error as a value: its class and its message."""

    error: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Network:
    """A wrapper for sending a network: Dask would take a bare module apart and lose its hooks."""

    model: nn.Module


@dataclasses.dataclass(frozen=True)
class Quantized(Network):
    """A quantized network with the numbers that do not depend on an image."""

    facts: dict[str, float]


def handing_on(task: Callable) -> Callable:
    """Make the task return a `Failure` if it, or one of its inputs, failed."""

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
    """Return the `Failure` of an error, its message in one line."""
    return Failure(type(error).__name__, " ".join(str(error).split()) or "no reason was given")


def pack(image: torch.Tensor) -> np.ndarray:
    """Return an image (1, 3, H, W) as (H, W, 3) uint8 if nothing is lost, else as a float array."""
    small = to_uint8(image)[0]
    return small if torch.equal(to_tensor(small), image) else image.numpy()


def _unpack(array: np.ndarray) -> torch.Tensor:
    return to_tensor(array) if array.dtype == np.uint8 else torch.from_numpy(array.copy())


@handing_on
def network(pickled: bytes) -> Network:
    """Unpickle a network; pickles only go between processes of one cluster, which trust each other."""
    return Network(pickle.loads(pickled))  # noqa: S301


@handing_on
def pair(name: str, lr: np.ndarray, hr: np.ndarray) -> Pair:
    """Return a pair from two packed images."""
    return Pair(name, _unpack(lr), _unpack(hr))


@handing_on
def patches(packed: list[np.ndarray]) -> torch.Tensor:
    """Return the calibration images (N, 3, h, w) from packed ones."""
    return torch.cat([_unpack(array) for array in packed])


@handing_on
def float_psnr(network: Network, image: Pair) -> float:
    """Return the PSNR of the float network in dB."""
    return evaluate(network.model, [image], _scale(image)).psnr


@handing_on
def observe(
    network: Network, images: torch.Tensor, config: QuantConfig, names: Sequence[str]
) -> dict[str, Observer]:
    """Return the statistics of the named layers' inputs over a part of the calibration images."""
    return observe_part(copy.deepcopy(network.model), images, config, names)


@handing_on
def merge(a: dict[str, Observer], b: dict[str, Observer]) -> dict[str, Observer]:
    """Return the merged statistics; the arguments may be needed again and stay unchanged."""
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
    """Return the quantizers for one configuration, which are small to send; the statistics stay in place."""
    found = {}
    for name in names:
        if name in observers:
            observer = copy.copy(observers[name])  # `finish` and its caches change the copy alone
            observer.finish()
            own = config.for_layer(name)
            made = None if own.activation_bits == FLOAT else observer.quantizer(own)
            found[name] = Known(made, observer.post_relu)
    return found


@handing_on
def quantize(
    network: Network,
    known: list[dict[str, Known]],
    images: list[torch.Tensor],
    config: QuantConfig,
    layers: tuple[str, ...],
    tune: int = 0,
) -> Quantized:
    """Quantize the network with known activation quantizers and compute its cost; ValueError for no layer.

    tune: steps by which its ranges are tuned then.
    """
    start, model = time.perf_counter(), network.model
    names, reasons = choose_layers(model, layers or None, images[0][:1])
    observers = {name: observer for part in known for name, observer in part.items() if name in names}
    never_called = {name: NEVER_CALLED for name in names if name not in observers}
    if not observers:
        raise ValueError("no layer is quantized; name layers that can be")
    found = Calibration(config, observers, reasons | never_called, images)
    quantized = quantize_model(model, found, config, list(layers) if layers else None)
    if tune:
        patch = min(PATCH, *images[0].shape[-2:])
        quantized = tune_ranges(model, quantized, images, tune, patch=patch, seed=config.seed)
    seconds = time.perf_counter() - start
    height, width = (n // model.scale for n in HR_PIXELS)
    spent = cost(quantized, height, width)
    facts = {"kib": spent.bytes / 1024, "gbitops": spent.bitops / 1e9, "quantize_seconds": seconds}
    facts["effective_weight_bits"] = spent.weight_bits
    facts["effective_activation_bits"] = spent.activation_bits
    return Quantized(quantized, facts)


@handing_on
def score(quantized: Quantized, image: Pair, reference: float) -> dict[str, float]:
    """Return the numbers of a row; reference: PSNR of the float network in dB."""
    start = time.perf_counter()
    result = evaluate(quantized.model, [image], _scale(image))
    numbers = {"psnr": result.psnr, "ssim": result.ssim, "float_psnr": reference}
    numbers |= {"drop": reference - result.psnr, "seconds": time.perf_counter() - start}
    return numbers | quantized.facts


def _scale(image: Pair) -> int:
    return image.hr.shape[-2] // image.lr.shape[-2]
