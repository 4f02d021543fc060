"""Super-resolve images, whole or by tiles, and score a network on pairs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from core.images import Pair, check_images, round_8bit
from core.metrics import psnr_y, ssim_y


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Mean PSNR (dB) and SSIM, and one row per image: {"name", "psnr", "ssim"}."""

    psnr: float
    ssim: float
    rows: list[dict[str, float | str]]


def evaluate(model: nn.Module, pairs: Iterable[Pair], scale: int) -> Evaluation:
    """Score `model` on (name, lr, hr) pairs: clamp, 8-bit rounding, luma, border of `scale` pixels.

    Images go through whole, one by one. ValueError for no pairs or an SR of another size than its HR.
    """
    rows = []
    for name, lr, hr in pairs:
        sr = round_8bit(super_resolve(model, lr))
        if sr.shape[-2:] != hr.shape[-2:] or hr.shape[-2] != scale * lr.shape[-2]:
            raise ValueError(
                f"{name}: LR {tuple(lr.shape[-2:])}, SR {tuple(sr.shape[-2:])}, HR {tuple(hr.shape[-2:])} "
                f"pixels: not all at scale {scale}"
            )
        hr = hr.to(sr.device)
        row = {"psnr": psnr_y(sr, hr, border=scale), "ssim": ssim_y(sr, hr, border=scale)}
        rows.append({"name": name, **row})
    if not rows:
        raise ValueError("evaluate needs at least one pair of images, got none")
    psnr, ssim = (sum(row[key] for row in rows) / len(rows) for key in ("psnr", "ssim"))
    return Evaluation(psnr, ssim, rows)


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    if not any(training for _, training in modes):
        yield  # nothing is touched, so threads may share a model in eval mode
        return
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def super_resolve(
    model: nn.Module,
    lr: torch.Tensor,
    tile: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> torch.Tensor:
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped, on the model's device.

    tile: side in LR pixels of the tiles to work by, for large images. Tiles overlap by the receptive field,
    so float and statically quantized networks give the picture of the whole. Networks that normalize
    dynamically (`is_dynamic`) take their statistics from each tile instead: a slightly different picture.
    `progress(share done)` is called after every tile and may raise to cancel.
    """
    check_images(lr, "lr")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    lr = lr.to(device)
    with _eval_mode(model):
        if tile is None or tile >= max(lr.shape[-2:]):
            return model(lr)
        if tile < 1:
            raise ValueError(f"tile must be at least 1 pixel, got {tile}")
        return _by_tiles(model, lr, tile, receptive_radius(model), progress)


def _by_tiles(model, lr, tile: int, overlap: int, progress) -> torch.Tensor:
    height, width = lr.shape[-2:]
    corners = [(top, left) for top in range(0, height, tile) for left in range(0, width, tile)]
    result = None
    for done, (top, left) in enumerate(corners, 1):
        y0, x0 = max(0, top - overlap), max(0, left - overlap)
        bottom, right = min(height, top + tile), min(width, left + tile)
        patch = lr[..., y0 : min(height, bottom + overlap), x0 : min(width, right + overlap)]
        sr = model(patch)
        scale = sr.shape[-1] // patch.shape[-1]
        if result is None:
            result = sr.new_empty(*sr.shape[:2], height * scale, width * scale)
        y, x = slice(top * scale, bottom * scale), slice(left * scale, right * scale)
        rows = slice((top - y0) * scale, (bottom - y0) * scale)
        columns = slice((left - x0) * scale, (right - x0) * scale)
        result[..., y, x] = sr[..., rows, columns]
        progress(done / len(corners))
    return result


class _Reach(TorchFunctionMode):
    """Adds up how far every convolution looks, also one that is called as a function."""

    radius = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (F.conv2d, F.conv_transpose2d):
            size = max(args[1].shape[-2:])
            at = 5 if function is F.conv2d else 7
            dilation = (kwargs or {}).get("dilation", args[at] if len(args) > at else 1)
            self.radius += np.max(dilation) * (size // 2)
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def receptive_radius(model: nn.Module) -> int:
    """How far, in LR pixels, an output pixel looks: the sum over the convs that run.

    An upper bound for networks that keep or raise the resolution: shared convs count at every call, convs
    after an upsampling as if before it. Strides, pooling and means over the whole image are not seen. A
    network that knows better says so as its attribute `receptive_radius`.
    """
    if isinstance(known := getattr(model, "receptive_radius", None), int):
        return known
    parameter = next((p for p in model.parameters()), torch.zeros(()))
    with _eval_mode(model), _Reach() as reach:
        model(torch.zeros(1, 3, 32, 32, device=parameter.device, dtype=parameter.dtype))
    return int(reach.radius)
