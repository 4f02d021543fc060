"""Methods on one image: scores of a region, error maps, profiles; cached over all sessions."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch

import core
from core.images import luma
from core.images.metrics import colour_shift
from explorer.choices.catalog import scale_of
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline.activations import ReadOnly
from explorer.pipeline.pictures import Picture, PictureRequest, difference, picture

PROFILE = 64  # pixels of the line
SSIM_WINDOW = 11


class Inspection(NamedTuple):
    """Where a person looks, in pixels of the SR image from its top left; values outside are clamped."""

    box: tuple[int, ...] = ()  # left, top, right, bottom; () for the whole image
    spot: tuple[int, ...] = ()  # x, y of the line's middle; () for the image's
    direction: str = "row"

    def region(self, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Return the box inside the image; None for the whole, also where no pixel of it is inside."""
        if len(self.box) != 4:
            return None
        left, right = (min(max(x, 0), width) for x in sorted(self.box[::2]))
        top, bottom = (min(max(y, 0), height) for y in sorted(self.box[1::2]))
        return (left, top, right, bottom) if right > left and bottom > top else None

    def line(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the row or column of the line, and where its pixels begin and end."""
        x, y = self.spot if len(self.spot) == 2 else (width // 2, height // 2)
        across, along = (y, x) if self.direction == "row" else (x, y)
        rows, length = (height, width) if self.direction == "row" else (width, height)
        start = min(max(along - PROFILE // 2, 0), max(length - PROFILE, 0))
        return min(max(across, 0), rows - 1), start, min(start + PROFILE, length)


@dataclasses.dataclass(frozen=True)
class MethodResult(ReadOnly):
    """The picture of one method with its error map, scores and profile; None for the reference itself."""

    picture: Picture
    error: np.ndarray | None  # (H, W), mean |RGB| difference from `pictures.reference` in 8-bit levels
    psnr: float | None  # of the region
    ssim: float | None  # of the region; None also where it is smaller than SSIM's window
    shift: float | None  # of the region's mean colour, in 8-bit levels
    profile: np.ndarray  # luma along the line, in 8-bit levels


@shared(2e8, lambda error: error.nbytes)
def error_map(request: PictureRequest, token: Token) -> np.ndarray:
    """Return a picture's difference from its reference, (H, W) in 8-bit levels."""
    found = difference(picture(*request, token=token), picture(*request.reference, token=token))
    found.setflags(write=False)
    return found


def inspect(request: PictureRequest, inspection: Inspection, token: Token) -> MethodResult:
    """Compare a picture with its reference where a person looks."""
    shown, truth = (picture(*one, token=token) for one in (request, request.reference))
    height, width = truth.rgb.shape[:2]
    a, b = (torch.from_numpy(p.rgb.copy()).permute(2, 0, 1)[None] / 255 for p in (shown, truth))
    line, start, end = inspection.line(height, width)
    values = luma(a)[0, 0]
    profile = (values[line] if inspection.direction == "row" else values[:, line])[start:end].numpy()
    if request == request.reference:
        return MethodResult(shown, None, None, None, None, profile)
    region, border = inspection.region(height, width), scale_of(request.network)
    psnr, ssim = shown.psnr, shown.ssim
    if region is not None:
        left, top, right, bottom = region
        a, b = (x[..., top:bottom, left:right] for x in (a, b))
        psnr = core.psnr_y(a, b, border=0)
        ssim = core.ssim_y(a, b, border=0) if min(a.shape[-2:]) >= SSIM_WINDOW else None
    elif border:
        a, b = (x[..., border:-border, border:-border] for x in (a, b))
    return MethodResult(shown, error_map(request, token=token), psnr, ssim, colour_shift(a, b), profile)
