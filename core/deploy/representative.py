"""Representative images for INT8 without a clip: CFQP (arXiv 2308.11365), in our interpretation.

A quantizer saturates at the ends of its range for free. If the output's range is [0, 1], the clip before it
becomes needless; and that range is set by the outputs of the float network on the representative images. So
images are chosen and changed until those outputs span [0, 1] and hardly more: overshoot widens the range and
wastes levels, too little coverage makes white unreachable. Only the float network without its clip is used,
never the ground truth. The abstract only says that the images are augmented by such outputs, and there is no
public code: the steps here are our interpretation of it.
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
TILE = 32  # side in LR pixels of the regions that are judged separately
# How far an output may overshoot [0, 1]. Chosen on Kodak: with a smaller limit, the remaining images do not
# cover the range of the inner layers.
OVERSHOOT = 0.02
WILD = 0.05  # from this overshoot on, "crop" drops a region even if "contrast" follows; chosen on Kodak
TAMING_STEPS = 8

# The strategies that are compared.
STRATEGIES = (
    "first", "random", "coverage", "crop", "contrast", "crop+contrast", "coverage+crop", "coverage+contrast",
    "coverage+crop+contrast",
)  # fmt: skip

CHOICES = ("first", "random", "coverage")
Images = list[torch.Tensor]  # each (N, 3, H, W), LR, in [0, 1]


def representative_images(
    model: nn.Module,
    images: Sequence[torch.Tensor],
    strategy: str,
    number: int = NUMBER,
    seed: int = 0,
    progress: Progress = lambda what, share: None,
) -> Images:
    """Return `number` of the LR images (1, 3, H, W), chosen and changed by `strategy`, to calibrate INT8 on.

    strategy: steps joined by "+". At most one step chooses, at the beginning: "first" in the given order,
    "random" (the default), or "coverage", those whose outputs end closest to 0 and 1. Then any steps that
    reduce overshoot: "crop" cuts regions of 32 pixels and drops those that overshoot by more than 0.02, or
    0.05 if contrast comes after it; "contrast" cuts them too and reduces their contrast, only where they
    overshoot by more than 0.02 and only as much as needed. The network's clip, if any, is removed for this.
    Returns a list of (N, 3, H, W). ValueError for no images, an unknown step, or if no region is left.
    `progress(what, share)` may raise to cancel.
    """
    choose, tame = _steps(strategy)
    images = [check_images(image) for image in images]
    if not images or number < 1:
        raise ValueError(f"representative images need at least one image, got {len(images)}; number={number}")
    if has_clip(model):
        model = without_clip(model)
    chosen = [images[i] for i in sorted(_choice(choose, model, images, seed, progress)[:number])]
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
    """Return the lowest and highest output on each image, (2, images); ValueError if one is not finite."""
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


def _choice(how: str, model: nn.Module, images: Images, seed: int, progress: Progress) -> list[int]:
    """Order the images by preference, as one of CHOICES has it; their indices."""
    if how == "first":
        return list(range(len(images)))
    if how == "random":
        return np.random.default_rng(seed).permutation(len(images)).tolist()
    low, high = output_ends(model, images, progress, "Looking for outputs that span [0, 1]")
    return (low.abs() + (high - 1).abs()).argsort(stable=True).tolist()


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
    """Reduce the contrast of regions that overshoot; drop those that still do after all steps.

    SR networks almost commute with a change of contrast, so a few corrections by the output suffice.
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
        # The linear map of [low, high] to the allowed part of it, applied to the input.
        inner_low, inner_high = low.clamp(min=-limit), high.clamp(max=1 + limit)
        gain = (inner_high - inner_low) / (high - low)
        offset = inner_low - gain * low
        regions[wild] = (gain.view(-1, 1, 1, 1) * regions[wild] + offset.view(-1, 1, 1, 1)).clamp(0, 1)
    tame = torch.ones(len(regions), dtype=torch.bool)
    tame[wild] = False
    if not tame.any():
        raise ValueError(f"every region's output overshoots [0, 1] by more than {limit} at any contrast")
    return [regions[tame]]


def tiles(images: Images, side: int = TILE) -> torch.Tensor:
    """Cut the images into regions of side x side pixels, (n, 3, side, side); the last ones overlap.

    ValueError if every image is smaller than that.
    """
    found = []
    for image in images:
        height, width = image.shape[-2:]
        if min(height, width) >= side:
            tops, lefts = (sorted({*range(0, n - side + 1, side), n - side}) for n in (height, width))
            found += [image[..., y : y + side, x : x + side] for y in tops for x in lefts]
    if not found:
        raise ValueError(f"no image is at least {side} pixels on both sides; give larger ones")
    return torch.cat(found)


TAMINGS: dict[str, Callable[..., Images]] = {"crop": _crop, "contrast": _contrast}
