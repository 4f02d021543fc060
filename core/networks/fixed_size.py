"""Run images of any size through a network that takes only one size."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

SEAM = 0.5 / 255  # largest difference of overlapping tiles, as a share of the largest value


def by_fixed_tiles(
    run: Callable[[torch.Tensor], torch.Tensor],
    lr: torch.Tensor,
    size: tuple[int | None, int | None],
    radius: int | None,
    step: int = 1,
    title: str = "the network",
) -> torch.Tensor:
    """Run (N, C, H, W) -> (N, C', scale*H, scale*W) by tiles of exactly `size`; None where a side is free.

    Tiles overlap by the receptive radius and begin at multiples of `step` LR pixels; tiles at the edges of
    the image end there, so that the picture is that of a network without a fixed size. Images that are
    smaller than a tile, or end off a multiple of `step`, are padded with their edge pixels. ValueError if
    tiles disagree on pixels that both should know, as those of a network that looks at the whole image do.
    """
    height, width = lr.shape[-2:]
    tops, high = _origins(height, size[0], radius, step, title)
    lefts, wide = _origins(width, size[1], radius, step, title)
    padded = F.pad(
        lr, (0, max(0, lefts[-1] + wide - width), 0, max(0, tops[-1] + high - height)), mode="replicate"
    )
    radius = radius or 0
    result = known = None
    for top in tops:
        for left in lefts:
            patch = padded[..., top : top + high, left : left + wide]
            sr = run(patch)
            scale = sr.shape[-1] // wide
            if sr.shape[-2:] != (scale * high, scale * wide) or scale < 1:
                came, gave = ("x".join(map(str, t.shape[-2:])) for t in (patch, sr))
                raise ValueError(f"{title} makes {gave} pixels of {came}, which is no whole scale")
            if result is None:
                shape = (scale * padded.shape[-2], scale * padded.shape[-1])
                result, known = sr.new_zeros(*sr.shape[:2], *shape), torch.zeros(shape, dtype=torch.bool)
            y, x = (
                _inner(o, all_, side, radius) for o, all_, side in ((top, tops, high), (left, lefts, wide))
            )
            part = sr[..., _slice(y, -top, scale), _slice(x, -left, scale)]
            place = (_slice(y, 0, scale), _slice(x, 0, scale))
            _check_seam(result[..., *place], part, known[place], title)
            result[..., *place], known[place] = part, True
    return result[..., : scale * height, : scale * width]


def _origins(
    length: int, size: int | None, radius: int | None, step: int, title: str
) -> tuple[list[int], int]:
    """Return where tiles begin along one side, and their length."""
    if size is None or length <= size:
        return [0], size or length
    # One step less than necessary: neighbours then share pixels on which they are compared.
    stride = 0 if radius is None else (size - 2 * radius - 1) // step * step
    if stride < 1:
        far = "" if radius is None else f" and each pixel looks up to {radius} pixels far"
        raise ValueError(
            f"{title} takes {size} pixels a side alone{far}, too few to join tiles to {length} pixels; "
            "export it with free sizes, or give smaller images"
        )
    last = -(-(length - size) // step) * step
    return [*range(0, last, stride), last], size


def _inner(origin: int, origins: list[int], side: int, radius: int) -> tuple[int, int]:
    """Return the first and last LR pixel (exclusive) for which the tile gives the same as the whole image."""
    start = origin + radius if origin else 0
    return start, origin + side - (radius if origin < origins[-1] else 0)


def _slice(pixels: tuple[int, int], shift: int, scale: int) -> slice:
    return slice(*((pixel + shift) * scale for pixel in pixels))


def _check_seam(before: torch.Tensor, now: torch.Tensor, known: torch.Tensor, title: str) -> None:
    if not known.any():
        return
    away = (before - now)[..., known].abs().max().item()
    if not away <= SEAM * now.abs().max().item():
        raise ValueError(
            f"{title} takes one size alone, and its tiles differ by up to {away:.2g} where they meet: it "
            "looks at the whole image, so export it with free sizes, or give images of its size"
        )
