"""Representative images for INT8 without a clip: CFQP (arXiv 2308.11365), as we read it.

A quantizer saturates at the ends of its range for free. If the output's range is [0, 1], the clip before it
has nothing left to do; and that range is what the float network gives out on the representative images. They
are therefore chosen and changed until those outputs span [0, 1] and hardly more: overshoot widens the range
and wastes levels, too little coverage makes white unreachable. Only the float network without its clip is
asked, never the ground truth. The abstract says no more than that the images are augmented by such outputs,
and there is no public code: the steps here are our interpretation of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from core.images import check_images
from core.models import has_clip, without_clip
from core.networks.running import run
from core.ptq.calibration import with_share
from core.utils.progress import Progress

NUMBER = 100
TILE = 32  # side in LR pixels of the regions that are judged on their own
# How far an output may overshoot [0, 1]. Chosen on Kodak: with less, the images that are left show the inner
# layers too little of what they will meet.
OVERSHOOT = 0.02
WILD = 0.05  # beyond it a region is dropped rather than tamed, where both are asked for; chosen on Kodak
TAMING_STEPS = 8

# Those that are compared.
STRATEGIES = (
    "first", "random", "coverage", "crop", "contrast", "crop+contrast", "coverage+crop", "coverage+contrast",
    "coverage+crop+contrast",
)  # fmt: skip

Images = list[torch.Tensor]  # each (N, 3, H, W), LR, in [0, 1]


def representative_images(
    model: nn.Module,
    images: Sequence[torch.Tensor],
    strategy: str,
    number: int = NUMBER,
    seed: int = 0,
    progress: Progress = lambda what, share: None,
) -> Images:
    """`number` of the LR images (1, 3, H, W), chosen and tamed by `strategy`, to calibrate INT8 on.

    strategy: steps joined by "+". First, at most, one that chooses: "first" in the order given, "random"
    (without it), or "coverage", those whose outputs end closest to 0 and 1. Then any of those that tame:
    "crop" cuts regions of 32 pixels and drops those that overshoot by more than 0.02, or 0.05 if contrast
    comes after it; "contrast" cuts them too and reduces their contrast, only where they overshoot by more
    than 0.02 and only as much as it takes. The network's clip, if it has one, is left out while it is asked.
    Returns a list of (N, 3, H, W). ValueError for no images, an unknown step, or if no region is left.
    `progress(what, share)` may raise to cancel.
    """
    choose, tame = _steps(strategy)
    images = [check_images(image) for image in images]
    if not images or number < 1:
        raise ValueError(f"representative images need at least one image, got {len(images)}; number={number}")
    if has_clip(model):
        model = without_clip(model)
    chosen = CHOICES[choose](model, images, number, seed, progress)
    for done, step in enumerate(tame, 1):
        limit = WILD if step == "crop" and "contrast" in tame[done:] else OVERSHOOT
        chosen = TAMINGS[step](model, chosen, limit, progress)
    return chosen


def _steps(strategy: str) -> tuple[str, list[str]]:
    steps = strategy.split("+")
    choose = steps.pop(0) if steps[0] in CHOICES else "random"
    unknown = [step for step in steps if step not in TAMINGS]
    if unknown:
        known = f"one of {', '.join(CHOICES)}, then any of {', '.join(TAMINGS)}"
        raise ValueError(
            f"strategy {strategy!r}: {', '.join(map(repr, unknown))} is no step; there are {known}"
        )
    return choose, steps


@torch.no_grad()
def output_ends(
    model: nn.Module, images: Sequence[torch.Tensor] | torch.Tensor, progress: Progress, what: str
) -> torch.Tensor:
    """The lowest and highest output on each image: (2, number of images). ValueError if one is not finite."""
    ends = []
    for batch, share in with_share(images):
        sr = run(model, batch)
        ends.append(torch.stack((sr.amin((1, 2, 3)), sr.amax((1, 2, 3)))).cpu())
        progress(what, share)
    found = torch.cat(ends, 1)
    if not torch.isfinite(found).all():
        raise ValueError("the network gives out NaN or infinity; check the weights and the images")
    return found


def _overshoot(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return torch.maximum(-low, high - 1).clamp(min=0)


def _first(model, images: Images, number: int, seed: int, progress: Progress) -> Images:
    return images[:number]


def _random(model, images: Images, number: int, seed: int, progress: Progress) -> Images:
    return [images[i] for i in sorted(np.random.default_rng(seed).permutation(len(images))[:number])]


def _coverage(model, images: Images, number: int, seed: int, progress: Progress) -> Images:
    low, high = output_ends(model, images, progress, "Looking for outputs that span [0, 1]")
    away = low.abs() + (high - 1).abs()
    return [images[i] for i in sorted(away.argsort(stable=True)[:number].tolist())]


def _crop(model, images: Images, limit: float, progress: Progress) -> Images:
    regions = tiles(images)
    overshoot = _overshoot(*output_ends(model, regions, progress, "Dropping regions that overshoot"))
    if not (overshoot <= limit).any():
        raise ValueError(
            f"every region's output overshoots [0, 1] by more than {limit}, the calmest one by "
            f"{overshoot.min():.2g}; give calmer images, or reduce their contrast instead"
        )
    return [regions[overshoot <= limit]]


def _contrast(model, images: Images, limit: float, progress: Progress) -> Images:
    """SR networks almost commute with a change of contrast, so a few corrections by the output suffice.

    A region that overshoots after all of them is dropped.
    """
    regions = tiles(images).clone()
    wild = torch.arange(len(regions))
    for step in range(TAMING_STEPS + 1):

        def tell(what: str, share: float, step: int = step) -> None:
            progress(what, (step + share) / (TAMING_STEPS + 1))

        low, high = output_ends(model, regions[wild], tell, "Reducing contrast")
        left = _overshoot(low, high) > limit
        wild, low, high = wild[left], low[left], high[left]
        if not len(wild) or step == TAMING_STEPS:
            break
        # The map that takes [low, high] to what of it may stay, applied to the input.
        inner_low, inner_high = low.clamp(min=-limit), high.clamp(max=1 + limit)
        gain = (inner_high - inner_low) / (high - low)
        offset = inner_low - gain * low
        regions[wild] = (gain.view(-1, 1, 1, 1) * regions[wild] + offset.view(-1, 1, 1, 1)).clamp(0, 1)
    tame = torch.ones(len(regions), dtype=torch.bool)
    tame[wild] = False
    if not tame.any():
        raise ValueError(f"every region's output overshoots [0, 1] by more than {limit} at any contrast")
    return [regions[tame]]


def tiles(images: Images) -> torch.Tensor:
    """Regions of TILE x TILE pixels that cover the images, (n, 3, TILE, TILE); the last ones overlap.

    ValueError if every image is smaller than that.
    """
    found = []
    for image in images:
        height, width = image.shape[-2:]
        if min(height, width) >= TILE:
            tops, lefts = (sorted({*range(0, n - TILE + 1, TILE), n - TILE}) for n in (height, width))
            found += [image[..., y : y + TILE, x : x + TILE] for y in tops for x in lefts]
    if not found:
        raise ValueError(f"no image is at least {TILE} pixels on both sides; give larger ones")
    return torch.cat(found)


CHOICES: dict[str, Callable[..., Images]] = {"first": _first, "random": _random, "coverage": _coverage}
TAMINGS: dict[str, Callable[..., Images]] = {"crop": _crop, "contrast": _contrast}
