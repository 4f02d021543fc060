"""Distribution mismatch of a float network: how much channels and images differ, by layer.

One range fits a layer if all its channels and images are alike. BatchNorm makes them so; without it the
differences pass on to the next layers, which is why SR networks are hard to quantize (arXiv 2307.13337,
sec. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from core.networks.folding import fold_parametrizations
from core.networks.running import run
from core.ptq.calibration import batches, recorded
from core.ptq.scope import channel_dim_of


class Mismatch(NamedTuple):
    """The spread of the channels' means and deviations, each relative to the layer's own deviation.

    0 if all are equal. Across channels: the spread of the averages over images. Across images: the spread of
    one channel, root mean square over the channels.
    """

    mean_channels: float
    mean_images: float
    deviation_channels: float
    deviation_images: float


def mismatch_of(mean: torch.Tensor, deviation: torch.Tensor) -> Mismatch:
    """Return the mismatch from the mean and deviation of every channel of every image, both (N, C)."""
    # The law of total variance: within the channels of an image plus between them.
    total = (deviation.square().mean() + mean.var(correction=0)).sqrt().clamp_min(1e-12)

    def spreads(x: torch.Tensor) -> tuple[float, float]:
        channels = x.mean(0).std(correction=0)
        images = x.var(0, correction=0).mean().sqrt()
        return float(channels / total), float(images / total)

    return Mismatch(*spreads(mean), *spreads(deviation))


class Spreads:
    """Mean and deviation of every channel of the named layers' inputs, image by image.

    `record(name, x, images)` adds the input of a layer of `model` for that number of images.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]):
        self._channel_dim = {name: channel_dim_of(model.get_submodule(name)) for name in layers}
        self._seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def record(self, name: str, x: torch.Tensor, images: int = 1) -> None:
        """Add the input of a layer for `images` images, whose parts follow each other in dimension 0."""
        dim = self._channel_dim[name]
        apart = x.ndim > -dim and len(x) % images == 0  # else the layer is called without a batch dimension
        for part in x.split(len(x) // images) if apart else [x]:
            variance, mean = torch.var_mean(part.transpose(0, dim).flatten(1), 1, correction=0)
            self._seen.setdefault(name, []).append((mean.double(), variance.double().sqrt()))

    def mismatch(self) -> dict[str, Mismatch]:
        """Return the mismatch of every layer that ran."""
        return {
            name: mismatch_of(*(torch.stack(parts) for parts in zip(*self._seen[name], strict=True)))
            for name in self._channel_dim
            if name in self._seen
        }


@torch.no_grad()
def mismatch(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    layers: Sequence[str],
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> dict[str, Mismatch]:
    """Return the mismatch of each layer's input, by layer name, over LR images.

    images: (N, 3, H, W) in [0, 1], or an iterable of such. Layers that the network does not call are left
    out. `progress(what, share)` may raise to cancel.

    >>> import torch
    >>> from core import create_model, mismatch
    >>> images = torch.rand(2, 3, 24, 24)
    >>> found = mismatch(create_model("xlsr", 3), images, ["conv4"])
    >>> found["conv4"].mean_channels > found["conv4"].mean_images  # channels differ more than images
    True
    """
    reference = fold_parametrizations(model).eval()
    spreads = Spreads(reference, layers)
    singles = [image for batch in batches(images) for image in batch.split(1)]
    with recorded(reference, layers, spreads.record):
        for done, image in enumerate(singles, 1):
            run(reference, image)
            progress("Comparing distributions", done / len(singles))
    return spreads.mismatch()
