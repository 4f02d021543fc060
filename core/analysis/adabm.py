"""AdaBM's rule for the bits of each layer, as a published baseline of `core.analysis.allocation`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from core.networks.folding import fold_parametrizations
from core.networks.running import run
from core.ptq.calibration import batches, recorded, undisturbed
from core.ptq.config import BITS, FLOAT, QuantConfig
from core.ptq.quantize import peek
from core.ptq.scope import Layers, choose_layers

PERCENTILES = (30, 70)  # of the layers' deviations: below one bit less, above one bit more


def adabm_layer_bits(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    config: QuantConfig,
    layers: Layers = None,
) -> QuantConfig:
    """Return `config` with activation bits by layer as AdaBM's calibration sets them; weights keep theirs.

    A layer's measure is the standard deviation of its input over channels and pixels, averaged over the
    images (N, 3, H, W); below the 30th percentile of the layers it gets one bit less, above the 70th one more
    (CVPR 2024, and the authors' code). Their rule by image and their tuning come on top and are not here:
    both change the bits with every image. ValueError for float activations.
    """
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
    own = []
    for name, mean in means.items():
        bits = config.activation_bits + int(mean > high) - int(mean < low)
        own.append((name, config.weight_bits, min(max(bits, BITS[0]), BITS[-2])))
    return dataclasses.replace(config, layer_bits=tuple(own))
