"""Super-resolve images, whole or by tiles, and score a network on pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import torch
from torch import nn

from core.images import Pair, check_images, round_8bit
from core.images.colour import with_chroma
from core.images.metrics import psnr_y, ssim_y
from core.networks.running import device_and_dtype, eval_mode, run
from core.networks.tiles import by_tiles


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Mean PSNR (dB) and SSIM, and one row per image: {"name", "psnr", "ssim"}."""

    psnr: float
    ssim: float
    rows: list[dict[str, float | str]]


def evaluate(model: nn.Module, pairs: Iterable[Pair], scale: int) -> Evaluation:
    """Score `model` on (name, lr, hr) pairs: clamp, 8-bit rounding, luma, border of `scale` pixels.

    Images go through whole, one by one, by the rules of `core.networks.running`. A network of one channel is
    scored on the luma that it gives, rounded to 8 bits; pairs may then be luma / 255 (1, 1, H, W) themselves.
    ValueError for no pairs or an SR of another size than its HR.
    """
    rows = []
    for name, lr, hr in pairs:
        check_images(lr, name, channels=(1, 3))
        sr = round_8bit(_own_picture(model, lr, scale=scale))
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


@torch.no_grad()
def super_resolve(
    model: nn.Module,
    lr: torch.Tensor,
    tile: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
    scale: int | None = None,
) -> torch.Tensor:
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped, on the model's device.

    Any network, in eval mode, by the rules of `core.networks.running`; float32 also where it computes in half
    precision. A network of one channel gets the luma of RGB, and its picture the chroma of the LR, enlarged
    bicubically; of luma / 255 (N, 1, H, W) it gives luma. `scale` is for networks whose forward asks for it.

    tile: side in LR pixels of the tiles to work by, for large images. Tiles overlap by as far as the network
    looks and begin at multiples of its own step, so that float and statically quantized networks give the
    picture of the whole. Of a network that looks at the whole picture, an image of a few tiles is run whole,
    and a warning says of a larger one by how much its tiles differ. Networks that normalize dynamically
    (`is_dynamic`) take their statistics from each tile: a slightly different picture.
    `progress(share done)` is called after every tile and may raise to cancel.
    """
    check_images(lr, "lr", channels=(1, 3))
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be at least 1 pixel, got {tile}")
    sr = _own_picture(model, lr, tile, progress, scale)
    return sr if sr.shape[1] == lr.shape[1] else with_chroma(sr, lr)


def _own_picture(model, lr, tile=None, progress=lambda share: None, scale=None) -> torch.Tensor:
    """The picture in the network's own channels: of a network of one channel, its luma."""

    def own(images: torch.Tensor) -> torch.Tensor:
        return run(model, images, scale)

    lr = lr.to(device_and_dtype(model)[0])
    with torch.no_grad(), eval_mode(model):
        if tile is None or tile >= max(lr.shape[-2:]):
            return own(lr)
        return by_tiles(model, lr, tile, own, progress)
