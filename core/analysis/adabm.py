"""AdaBM's rules for the bits of each layer and image: a published baseline of `core.analysis.allocation`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from core.images import luma
from core.networks.folding import fold_parametrizations
from core.networks.running import run
from core.ptq.calibration import batches, recorded, undisturbed
from core.ptq.config import BITS, FLOAT, QuantConfig
from core.ptq.quantize import peek, quantize_model
from core.ptq.scope import Layers, choose_layers

PERCENTILES = (30, 70)  # of the layers' deviations: below one bit less, above one bit more
IMAGE_PERCENTILES = (10, 90)  # of the images' gradient magnitudes, likewise


def adabm_layer_bits(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    config: QuantConfig,
    layers: Layers = None,
) -> QuantConfig:
    """Return `config` with activation bits by layer as AdaBM's calibration sets them; weights keep theirs.

    A layer's measure is the standard deviation of its input over channels and pixels, averaged over the
    images (N, 3, H, W); below the 30th percentile of the layers it gets one bit less, above the 70th one more
    (CVPR 2024, and the authors' code). `adabm` adds their rule by image; their tuning of ranges and of both
    rules' thresholds is not here. ValueError for float activations.
    """
    shifts = _layer_shifts(model, images, config, layers)
    return _shifted(config, shifts, 0)


def _layer_shifts(model, images, config: QuantConfig, layers: Layers) -> dict[str, int]:
    """Return by how many bits, −1, 0 or 1, each layer differs."""
    if config.activation_bits == FLOAT:
        raise ValueError("AdaBM chooses bits of activations, and they are float here; give 2 to 8 bits")
    first, images = peek(images)
    model = fold_parametrizations(model).eval()
    deviations: dict[str, list[float]] = {}

    def record(name: str, x: torch.Tensor) -> None:
        deviations.setdefault(name, []).extend(float(image.std()) for image in x)

    with undisturbed(model):
        names, _ = choose_layers(model, layers, first)
        with recorded(model, names, record):
            for batch in batches(images):
                run(model, batch)
    means = {name: float(np.mean(own)) for name, own in deviations.items()}
    low, high = np.percentile(list(means.values()), PERCENTILES)
    return {name: int(mean > high) - int(mean < low) for name, mean in means.items()}


def _shifted(config: QuantConfig, shifts: dict[str, int], more: int) -> QuantConfig:
    """Return the configuration with each layer's activation bits shifted, and `more` bits in all of them."""
    bits = {name: _within(config.activation_bits + shift + more) for name, shift in shifts.items()}
    own = tuple((name, config.weight_bits, number) for name, number in bits.items())
    return dataclasses.replace(config, layer_bits=own)


def _within(bits: int) -> int:
    """Return the nearest number of bits that there is."""
    return min(max(bits, BITS[0]), BITS[-2])


class AdaBM(nn.Module):
    """A network whose activation bits follow the image, by AdaBM's calibration before its tuning (CVPR 2024).

    networks: the network quantized with one bit less, with its own bits, and with one bit more, at the same
    weights. thresholds: the image measures below and above which the first and the last one run.
    """

    def __init__(self, networks: Sequence[nn.Module], thresholds: tuple[float, float]):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.register_buffer("thresholds", torch.tensor(thresholds, dtype=torch.float64))

    def shifts(self, lr: torch.Tensor) -> torch.Tensor:
        """Return by how many bits (N,), −1, 0 or 1, each image (N, 3, H, W) differs."""
        measure, (low, high) = gradient_magnitude(lr), self.thresholds
        return (measure > high).int() - (measure < low).int()

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        """Return the SR images (N, 3, scale*H, scale*W) of LR images (N, 3, H, W)."""
        chosen = (self.shifts(lr) + 1).tolist()
        return torch.cat([self.networks[i](image) for i, image in zip(chosen, lr.split(1), strict=True)])


def gradient_magnitude(images: torch.Tensor) -> torch.Tensor:
    """Return the mean magnitude (N,) of the gradient of the luma of each image (N, 3 or 1, H, W).

    By Sobel's kernels, edge pixels repeated. Only its order among images matters here.
    """
    grey = luma(images) if images.shape[1] == 3 else images
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(grey) / 8
    kernels = torch.stack((across, across.T))[:, None]
    gradients = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    return gradients.square().sum(1).sqrt().mean((1, 2))


def adabm(
    model: nn.Module,
    images: torch.Tensor | Sequence[torch.Tensor],
    config: QuantConfig,
    layers: Layers = None,
) -> AdaBM:
    """Return the network with AdaBM's bits by layer and image: `adabm_layer_bits`, and a bit for the image.

    An image whose gradient magnitude is below the 10th percentile of the `images` (N, 3, H, W) gets one bit
    less in every layer, one above the 90th a bit more; bits stay within 2 and 8, weights keep theirs. Errors
    as for `adabm_layer_bits`.
    """
    shifts = _layer_shifts(model, images, config, layers)
    networks = [quantize_model(model, images, _shifted(config, shifts, more), layers) for more in (-1, 0, 1)]
    measures = torch.cat([gradient_magnitude(batch) for batch in batches(images)])
    low, high = np.percentile(measures.numpy(force=True), IMAGE_PERCENTILES)
    return AdaBM(networks, (float(low), float(high)))
