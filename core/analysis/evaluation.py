"""Super-resolve images, whole or by tiles, and score a network on pairs of images."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import nn

from core.images import Pair, check_images, round_8bit
from core.images.colour import with_chroma
from core.images.metrics import psnr_y, ssim_y
from core.networks.running import check_network, device_and_dtype, eval_mode, run
from core.networks.tiles import Difference, by_tiles
from core.utils.numbers import check_whole


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The scores of a network: mean PSNR (dB) and SSIM, and one row per image: {"name", "psnr", "ssim"}."""

    psnr: float
    ssim: float
    rows: list[dict[str, float | str]]


def evaluate(model: nn.Module, pairs: Iterable[Pair], scale: int) -> Evaluation:
    """Score `model` on (name, lr, hr) pairs: clamp, 8-bit rounding, luma, border of `scale` pixels cropped.

    Images are run whole, one by one, by the rules of `core.networks.running`. A one-channel network is scored
    on the luma that it returns, rounded to 8 bits; pairs may then be luma / 255 (1, 1, H, W) themselves.
    ValueError for no pairs or an SR of another size than its HR.

    >>> import torch
    >>> from core import Pair, create_model, evaluate, make_lr
    >>> hr = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    >>> result = evaluate(create_model("xlsr", 3), [Pair("noise", make_lr(hr, 3), hr)], scale=3)
    >>> print(f"{result.psnr:.0f} dB")  # noise cannot be restored
    16 dB
    """
    if isinstance(pairs, Pair):
        raise ValueError("evaluate takes a list of pairs; put the one in a list")
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
    tell: Callable[[Difference], None] | None = None,
) -> torch.Tensor:
    """Return the SR of LR images: (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    Any network, in eval mode, by the rules of `core.networks.running`, on the model's device; the result is
    float32 even if the network computes in half precision, and float64 for LR images in float64. A
    one-channel network gets the luma of RGB, and the chroma of the LR, enlarged bicubically, is added; for
    luma / 255 (N, 1, H, W) it returns luma. `scale` is for networks whose forward asks for it.

    tile: side in LR pixels of the tiles, for large images. Tiles overlap by the receptive radius and begin at
    multiples of the network's own step, so that float and statically quantized networks give the same picture
    as on the whole image. With a network that looks at the whole image, an image of a few tiles is run whole,
    and for a larger one a warning says by how much its tiles differ, or `tell` is called with that. Networks
    that normalize dynamically (`is_dynamic`) take their statistics from each tile, which changes the picture
    slightly. `progress(share done)` is called after every tile and may raise to cancel.

    >>> import torch
    >>> from core import create_model, super_resolve
    >>> model, lr = create_model("xlsr", 3), torch.rand(1, 3, 24, 24)
    >>> sr = super_resolve(model, lr)
    >>> sr.shape, torch.allclose(super_resolve(model, lr, tile=12), sr, atol=1e-5)
    (torch.Size([1, 3, 72, 72]), True)
    """
    check_images(lr, "lr", channels=(1, 3))
    if tile is not None:
        check_whole("tile", tile)
    sr = _own_picture(model, lr, tile, progress, scale, tell or _warn)
    return sr if sr.shape[1] == lr.shape[1] else with_chroma(sr, lr)


def _warn(difference: Difference) -> None:
    warnings.warn(f"{difference}; leave `tile` out to run it whole", stacklevel=6)


def _own_picture(
    model, lr, tile=None, progress=lambda share: None, scale=None, tell=lambda difference: None
) -> torch.Tensor:
    """Return the picture in the network's own channels: the luma for a one-channel network."""

    def own(images: torch.Tensor) -> torch.Tensor:
        sr = run(model, images, scale)
        if sr.shape[1] not in (1, 3):
            raise ValueError(
                f"{type(model).__name__} returns {sr.shape[1]} channels, and a picture has 1 or 3"
            )
        return sr

    check_network(model)
    lr = lr.to(device_and_dtype(model)[0])
    with torch.no_grad(), eval_mode(model):
        if tile is None or tile >= max(lr.shape[-2:]):
            return own(lr)
        return by_tiles(model, lr, tile, own, progress, tell)
