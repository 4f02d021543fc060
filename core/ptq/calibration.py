"""Calibration: run images through the float network in batches and collect statistics for each method.

`core.ptq.observers` keeps the statistics.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from core.images import check_images
from core.networks.folding import fold_parametrizations
from core.networks.running import run
from core.ptq.observers import Observer
from core.utils.numbers import check_whole

PATCHES = 32  # calibration patches, as in the code of DFSQ's authors
HR_PATCH = 192  # HR pixels a side: LR patches of 96 at x2 and 48 at x4, as DFSQ's authors use
MAX_BATCH_PIXELS = 8 * 96 * 96  # LR pixels in one forward
Watch = Callable[[str, torch.Tensor, int], None]
HALF = (torch.float16, torch.bfloat16)  # too coarse for statistics


def unwatched(name: str, x: torch.Tensor, images: int) -> None:
    """Do nothing with a layer's input."""


def batches(images: torch.Tensor | Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Cut a (N, 3 or 1, H, W) tensor, or each of an iterable of them, into batches that limit the memory.

    ValueError for no images.
    """
    empty = True
    for chunk in [images] if isinstance(images, torch.Tensor) else images:
        check_images(chunk, "calibration", channels=(1, 3))
        size = max(1, MAX_BATCH_PIXELS // (chunk.shape[-2] * chunk.shape[-1]))
        empty = False
        yield from chunk.split(size)
    if empty:
        raise ValueError("calibration needs at least one image, got none")


def with_share(
    images: torch.Tensor | Iterable[torch.Tensor],
) -> Iterator[tuple[torch.Tensor, float]]:
    """Yield `batches`, each with the fraction of images done after it; nan if their number is unknown."""
    if isinstance(images, torch.Tensor):
        images = [images]
    total = sum(map(len, images)) if isinstance(images, Sequence) else math.nan
    done = 0
    for batch in batches(images):
        done += len(batch)
        yield batch, done / total


@contextlib.contextmanager
def recorded(
    model: nn.Module, names: Sequence[str], record: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Call `record(name, input)` whenever a named layer runs, while the context is open.

    The input comes after the network's own pre-forward hooks; for a quantized layer it is the input of its
    activation quantizer.
    """
    modules = dict(model.named_modules())

    def hook(name: str):
        def call(module, args, kwargs):
            x = (args[0] if args else next(iter(kwargs.values()))).detach()
            with torch.autocast(x.device.type, enabled=False):  # of a network that turns it on itself
                record(name, x)

        return call

    receivers = {name: getattr(modules[name], "activation_quantizer", modules[name]) for name in names}
    handles = [m.register_forward_pre_hook(hook(name), with_kwargs=True) for name, m in receivers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Compute in the network's own dtype and with normal tensors in this context, whatever the caller set.

    Autocast would round statistics to 16 bits; weights created in inference mode could never be trained.
    """
    device = next((p.device.type for p in model.parameters()), "cpu")
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
        yield


@torch.no_grad()
def observe(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    observers: dict[str, Observer],
    progress: Callable[[str, float], None] = lambda what, share: None,
    watch: Watch = unwatched,
) -> set[str]:
    """Run `model` on the images, show each named layer's input to its observer; return the layers that ran.

    The observers are not finished, since more images may follow. `progress(what, share)` is called after
    every batch and may raise to cancel. `watch(name, x, images)` gets every input and the number of
    images in it too, for other statistics of the same pass. ValueError for NaN or infinite activations.
    """
    ran: set[str] = set()
    at_once = 0

    def record(name: str, x: torch.Tensor) -> None:
        if not torch.isfinite(x).all():
            raise ValueError(f"the input of {name} holds NaN or infinity; check the weights and the images")
        ran.add(name)
        x = x.float() if x.dtype in HALF else x
        observers[name].update(x)
        watch(name, x, at_once)

    with recorded(model, list(observers), record):
        for batch, share in with_share(images):
            at_once = len(batch)
            run(model, batch)
            progress("Calibrating", share)
    return ran


class _Reached(Exception):
    """Stops a forward at the layer of interest."""


@torch.no_grad()
def layer_inputs(
    model: nn.Module,
    name: str,
    images: torch.Tensor,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> torch.Tensor:
    """Return the input of the named layer at its first call, for all images of (N, 3, H, W) -> (N, C, ...).

    Later layers are not run. Works on a copy, so that threads may share the model. ValueError if the layer is
    not called.
    """
    model = fold_parametrizations(model).eval()
    inputs: list[torch.Tensor] = []

    def record(_: str, x: torch.Tensor) -> None:
        inputs.append(x.clone())
        raise _Reached

    with recorded(model, [name], record):
        for batch, share in with_share(images):
            try:
                run(model, batch)
            except _Reached:
                progress("Recording activations", share)
            else:
                raise ValueError(f"{name} is not called by the network")
    return torch.cat(inputs)


def patch_size(scale: int) -> int:
    """Return the side of a calibration patch in LR pixels; its HR patch has the same size at any scale."""
    return max(1, HR_PATCH // scale)


def calibration_patches(
    images: Iterable[torch.Tensor], n_patches: int = 32, size: int = 96, seed: int = 0
) -> torch.Tensor:
    """Cut `n_patches` random square patches (n, 3, size, size) from LR images, as DFSQ calibrates.

    96 pixels for x2, 48 for x4 (arXiv 2305.05888, sec. 4.1). Images smaller than a patch are skipped;
    ValueError if none is left.
    """
    check_whole("n_patches", n_patches)
    check_whole("size", size)
    large = [image for image in images if min(image.shape[-2:]) >= size]
    if not large:
        raise ValueError(
            f"no image is at least {size} pixels on both sides; give larger images or a smaller size"
        )
    rng = np.random.default_rng(seed)
    patches = []
    for _ in range(n_patches):
        image = large[rng.integers(len(large))]
        y, x = (int(rng.integers(n - size + 1)) for n in image.shape[-2:])
        patches.append(image[:1, :, y : y + size, x : x + size])
    return torch.cat(patches)
