"""Estimate the duration of a sweep from a forward that is timed on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch

from core.analysis.evaluation import evaluate, super_resolve
from core.images import Pair
from core.ptq.calibration import PATCHES, patch_size
from core.qat.range_tuning import BATCH, PATCH
from core.sweep.grid import Choice, Networks

SIDE = 96  # LR pixels of the image that is timed
START = 8.0  # seconds until the first worker computes
# Measured time of each task, as a multiple of a float forward on the same images.
QUANTIZED, OBSERVED, REFINED, TUNED = 1.4, 1.7, 6.0, 7.0


def estimate(
    choices: Mapping[Choice, Sequence[str] | None],
    pixels: Mapping[str, int],
    networks: Networks,
    workers: int,
) -> float:
    """Return the seconds that the configurations take on `workers` cores.

    choices: configuration -> names of its images, None for all. pixels: of each HR image, by name.
    """
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
        total += TUNED * choice.tune * BATCH * PATCH**2 * forward[key]
        classes[key, config.observed] = OBSERVED * calibration
    return START + (total + sum(classes.values())) / workers


def _seconds_per_pixel(networks: Networks, network: str, scale: int) -> tuple[float, float]:
    """Return the seconds per LR pixel of a float forward on one thread, and of scoring."""
    model = networks.model(network, scale)
    pair = Pair("", torch.rand(1, 3, SIDE, SIDE), torch.rand(1, 3, SIDE * scale, SIDE * scale))
    super_resolve(model, pair.lr)  # not timed: the first call is slower
    start = time.perf_counter()
    super_resolve(model, pair.lr)
    middle = time.perf_counter()
    evaluate(model, [pair], scale)
    evaluating = (time.perf_counter() - middle) * torch.get_num_threads()
    forward = (middle - start) * torch.get_num_threads()
    return forward / SIDE**2, max(0.0, evaluating - forward) / SIDE**2
