"""Distribution mismatch of a float network: how far channels and images differ, by layer.

One range for a layer fits where all its channels and images are alike. BatchNorm makes them so; networks
without it pass differences on, which is why super-resolution is hard to quantize (arXiv 2307.13337, sec. 3).
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
    """Spread of the channels' means and deviations, each as a share of the layer's own deviation.

    0 where all are the same. Across channels: of the averages over images. Across images: of one channel,
    root mean square over the channels.
    """

    mean_channels: float
    mean_images: float
    deviation_channels: float
    deviation_images: float


def mismatch_of(mean: torch.Tensor, deviation: torch.Tensor) -> Mismatch:
    """From every image's mean and deviation of every channel, both (N, C)."""
    # The law of total variance: within the channels of an image, and between them.
    total = (deviation.square().mean() + mean.var(correction=0)).sqrt().clamp_min(1e-12)

    def spreads(x: torch.Tensor) -> tuple[float, float]:
        channels = x.mean(0).std(correction=0)
        images = x.var(0, correction=0).mean().sqrt()
        return float(channels / total), float(images / total)

    return Mismatch(*spreads(mean), *spreads(deviation))


@torch.no_grad()
def mismatch(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    layers: Sequence[str],
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> dict[str, Mismatch]:
    """Layer -> mismatch of its input, over LR images (N, 3, H, W) in [0, 1], or an iterable of such.

    Layers that the network does not call are left out. `progress(what, share)` may raise to cancel.
    """
    reference = fold_parametrizations(model).eval()
    channel_dim = {name: channel_dim_of(reference.get_submodule(name)) for name in layers}
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def record(name: str, x: torch.Tensor) -> None:
        channels = x.transpose(0, channel_dim[name]).flatten(1)
        mean = channels.mean(1, keepdim=True)
        deviation = (channels - mean).square().mean(1).sqrt()
        seen.setdefault(name, []).append((mean[:, 0].double(), deviation.double()))

    singles = [image for batch in batches(images) for image in batch.split(1)]
    with recorded(reference, layers, record):
        for done, image in enumerate(singles, 1):
            run(reference, image)
            progress("Comparing distributions", done / len(singles))
    return {
        name: mismatch_of(*(torch.stack(parts) for parts in zip(*seen[name], strict=True)))
        for name in layers
        if name in seen
    }
