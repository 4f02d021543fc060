"""Roughly how long a sweep takes, from a forward that is timed here and now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch

from core.analysis.evaluation import evaluate, super_resolve
from core.images import Pair
from core.ptq.calibration import PATCHES, patch_size
from core.sweep.grid import Choice, Networks

SIDE = 96  # LR pixels of the image that is timed
START = 8.0  # seconds until the first worker computes
# Measured, as multiples of what a float network takes on the same images.
QUANTIZED, OBSERVED, REFINED = 1.4, 1.7, 6.0


def estimate(
    choices: Mapping[Choice, Sequence[str] | None],
    pixels: Mapping[str, int],
    networks: Networks,
    workers: int,
) -> float:
    """Seconds on so many cores. pixels: of each HR image, by name; all of them where a choice names none."""
    forward, score = {}, {}
    for choice in choices:
        key = choice.network, choice.scale
        if key not in forward:
            forward[key], score[key] = _seconds_per_pixel(networks, *key)
    total, classes = 0.0, {}
    for choice, names in choices.items():
        key = choice.network, choice.scale
        calibration = PATCHES * patch_size(choice.scale) ** 2 * forward[key]
        try:
            config = choice.config()
        except ValueError:
            continue
        scored = sum(pixels[name] for name in names or pixels) / choice.scale**2
        total += scored * (QUANTIZED * forward[key] + score[key])
        total += REFINED * calibration if config.recipe.refine else 0.0
        classes[key, config.observed] = OBSERVED * calibration
    return START + (total + sum(classes.values())) / workers


def _seconds_per_pixel(networks: Networks, network: str, scale: int) -> tuple[float, float]:
    """Of a float forward on one thread, and of scoring, by LR pixel."""
    model = networks.model(network, scale)
    pair = Pair("", torch.rand(1, 3, SIDE, SIDE), torch.rand(1, 3, SIDE * scale, SIDE * scale))
    super_resolve(model, pair.lr)  # the first is slower
    start = time.perf_counter()
    super_resolve(model, pair.lr)
    middle = time.perf_counter()
    evaluate(model, [pair], scale)
    both = time.perf_counter() - middle
    alone = (middle - start) * torch.get_num_threads()
    return alone / SIDE**2, max(0.0, both * torch.get_num_threads() - alone) / SIDE**2
