"""Calibration: stream images through the float network and gather what each method needs to know.

An observer sees the input of one layer, batch by batch, and keeps statistics, never activations.
`observer.quantizer(config)` then gives the layer's activation quantizer for any bits, selector and seed.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from core.images import check_images
from core.moments import Moments
from core.point_selection import ExactSelection, prepare, select_points
from core.quantizers import SubsetQuantizer, UniformQuantizer, moments_of
from core.ranges import RANGES
from core.universal_set import UniversalSet

if TYPE_CHECKING:
    from core.config import QuantConfig

PATCHES = 32  # calibration patches, as DFSQ's authors
PATCH_SIZE = {2: 96, 3: 64, 4: 48}  # LR pixels by scale; 96 and 48 as DFSQ's authors
MAX_BATCH_PIXELS = 8 * 96 * 96  # of LR images in one forward


class RangeObserver:
    """The range of a layer's input, per tensor: the mean over images of each image's low and high.

    For "minmax" the lowest low and the highest high instead, so that nothing is clipped.
    """

    def __init__(self, ranges: str, channel_dim: int = 1):
        self._estimate, self._outermost = RANGES[ranges], ranges == "minmax"
        self.channel_dim = channel_dim
        self._ranges: list[tuple[float, float]] = []
        self._lowest = np.inf

    def update(self, x: torch.Tensor) -> None:
        self._lowest = min(self._lowest, float(x.min()))
        one_image = self.channel_dim % x.ndim == 0  # a layer called without a batch dimension
        self._ranges += [self._estimate(image.flatten()) for image in (x[None] if one_image else x)]

    def finish(self) -> None:
        """No more data will come."""

    @property
    def post_relu(self) -> bool:
        return self._lowest >= 0

    def quantizer(self, config: QuantConfig) -> UniformQuantizer:
        bits = config.activation_bits
        lows, highs = zip(*self._ranges, strict=True)
        if self._outermost:
            return UniformQuantizer(min(lows), max(highs), bits)
        return UniformQuantizer(float(np.mean(lows)), float(np.mean(highs)), bits)


class SubsetObserver:
    """Moments of a layer's normalized input, and the points chosen from them.

    Whether the layer is post-ReLU shows only when all data are seen: until a negative value comes, the
    moments of both normalizations are kept.
    """

    def __init__(self, universal_set: UniversalSet, channel_dim: int):
        self.universal_set, self.channel_dim = universal_set, channel_dim
        self.post_relu = True
        self._one_sided: Moments | None = None
        self._two_sided: Moments | None = None
        self._exact: ExactSelection | None = None

    def update(self, x: torch.Tensor) -> None:
        n_channels, step = x.shape[self.channel_dim], self.universal_set.step
        if self._one_sided is None and self.post_relu:
            self._two_sided = Moments(n_channels, step)
            self._one_sided = Moments(n_channels, step)
        moments_of(x, self._two_sided, self.channel_dim, post_relu=False)
        if self.post_relu and float(x.min()) < 0:
            self.post_relu, self._one_sided = False, None
        if self.post_relu:
            moments_of(x, self._one_sided, self.channel_dim, post_relu=True)

    def finish(self) -> None:
        """No more data will come: drop the statistics of the normalization that does not fit."""
        if self.post_relu:
            self._two_sided = None

    @property
    def moments(self) -> Moments:
        """Of the normalization that fits the data."""
        return self._one_sided if self.post_relu else self._two_sided

    def points(self, bits: int, selector: str = "exact", seed: int = 0) -> np.ndarray:
        """(C, 2**bits) chosen points; ValueError if the universal set has fewer."""
        n_points, candidates = 2**bits, self.universal_set.points
        if selector != "exact":
            return select_points(self.moments, candidates, n_points, selector=selector, seed=seed)
        held = self._exact  # a local name, as another thread may put a smaller one in its place
        if held is None or held.max_points < n_points:
            held = self._exact = ExactSelection(prepare(self.moments, candidates, n_points), n_points)
        return held.points(n_points)

    def quantizer(self, config: QuantConfig) -> SubsetQuantizer:
        bits = config.activation_bits
        points = self.points(bits, config.selector, config.seed)
        return SubsetQuantizer(points, self.universal_set.step, self.post_relu, bits, self.channel_dim)


class ChosenPoints:
    """Stands for an observer whose points are known: `points` (C, 2**bits) of `universal_set`."""

    def __init__(self, points: np.ndarray, universal_set: UniversalSet, post_relu: bool, channel_dim: int):
        self._points, self._step = points, universal_set.step
        self.post_relu, self._channel_dim = post_relu, channel_dim

    def quantizer(self, config: QuantConfig) -> SubsetQuantizer:
        bits = config.activation_bits
        return SubsetQuantizer(self._points, self._step, self.post_relu, bits, self._channel_dim)


def batches(images: torch.Tensor | Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Cut a (N, 3, H, W) tensor, or each of an iterable of them, into batches that bound the memory."""
    empty = True
    for chunk in [images] if isinstance(images, torch.Tensor) else images:
        check_images(chunk, "calibration")
        size = max(1, MAX_BATCH_PIXELS // (chunk.shape[-2] * chunk.shape[-1]))
        empty = False
        yield from chunk.split(size)
    if empty:
        raise ValueError("calibration needs at least one image, got none")


@contextlib.contextmanager
def recorded(
    model: nn.Module, names: Sequence[str], record: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """While the context is open, `record(name, input)` is called whenever a named layer runs."""
    modules = dict(model.named_modules())

    def hook(name: str):
        def call(module, args, kwargs):
            record(name, (args[0] if args else next(iter(kwargs.values()))).detach())

        return call

    handles = [modules[name].register_forward_pre_hook(hook(name), with_kwargs=True) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def observe(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    observers: dict[str, RangeObserver | SubsetObserver],
    progress: Callable[[int], None] = lambda images_done: None,
) -> set[str]:
    """Run `model` on the images and feed each named layer's input to its observer; the layers that ran.

    `progress(images_done)` is called after every batch and may raise to cancel. ValueError for NaN or
    infinite activations.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    ran: set[str] = set()

    def record(name: str, x: torch.Tensor) -> None:
        if not torch.isfinite(x).all():
            raise ValueError(f"the input of {name} holds NaN or infinity; check the weights and the images")
        ran.add(name)
        observers[name].update(x)

    done = 0
    with recorded(model, list(observers), record):
        for batch in batches(images):
            model(batch.to(device))
            done += len(batch)
            progress(done)
    for observer in observers.values():
        observer.finish()
    return ran


class _Reached(Exception):
    """Stops a forward at the layer of interest."""


@torch.no_grad()
def layer_inputs(
    model: nn.Module,
    name: str,
    images: torch.Tensor,
    progress: Callable[[int], None] = lambda images_done: None,
) -> torch.Tensor:
    """Everything the named layer receives at its first call, for all images of (N, 3, H, W) -> (N, C, ...).

    The layers behind it are not run. Works on a copy, so that threads may share the model.
    """
    model = copy.deepcopy(model).eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inputs: list[torch.Tensor] = []
    done = 0

    def record(_: str, x: torch.Tensor) -> None:
        inputs.append(x.clone())
        raise _Reached

    with recorded(model, [name], record):
        for batch in batches(images):
            try:
                model(batch.to(device))
            except _Reached:
                done += len(batch)
                progress(done)
            else:
                raise ValueError(f"{name} is not called by the network")
    return torch.cat(inputs)


def calibration_patches(
    images: Iterable[torch.Tensor], n_patches: int = 32, size: int = 96, seed: int = 0
) -> torch.Tensor:
    """`n_patches` random square patches (n, 3, size, size) of LR images, as DFSQ calibrates.

    96 pixels for x2, 48 for x4 (arXiv 2305.05888, sec. 4.1). Images smaller than a patch are passed over;
    ValueError if none is left.
    """
    large = [image for image in images if min(image.shape[-2:]) >= size]
    if not large:
        raise ValueError(f"no image is at least {size} pixels on both sides")
    rng = np.random.default_rng(seed)
    patches = []
    for _ in range(n_patches):
        image = large[rng.integers(len(large))]
        y, x = (int(rng.integers(n - size + 1)) for n in image.shape[-2:])
        patches.append(image[:1, :, y : y + size, x : x + size])
    return torch.cat(patches)
