"""Random patches to train on, a function of the seed and the step alone."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence

import torch

from core.images import make_lr, modcrop


class PatchSampler:
    """Random aligned LR/HR patches with flips and rotations from images held in memory as uint8."""

    def __init__(self, images: Sequence[torch.Tensor], scale: int, patch: int):
        self.scale, self.patch = scale, patch
        self.pairs = []
        for hr in images:
            if min(hr.shape[-2:]) < patch * scale:
                continue
            hr = modcrop(hr, scale)
            lr = make_lr(hr, scale)
            self.pairs.append([(t[0] * 255).round().byte() for t in (lr, hr)])
        if not self.pairs:
            raise ValueError(
                f"no training image is at least {patch * scale} pixels on both sides; take larger ones or a "
                "smaller patch"
            )

    @property
    def checksum(self) -> int:
        """Of the LR images: tells whether a resumed run trains on the same ones."""
        return functools.reduce(lambda crc, pair: zlib.crc32(pair[0].numpy(), crc), self.pairs, 0)

    def batch(
        self, size: int, seed: int, step: int, device: torch.device | str = "cpu"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, patch, patch) and (N, 3, scale*patch, scale*patch) in [0, 1]; the same for the same step."""
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        lrs, hrs = [], []
        for index in torch.randint(len(self.pairs), (size,), generator=rng).tolist():
            lr, hr = self.pairs[index]
            y = int(torch.randint(lr.shape[1] - self.patch + 1, (1,), generator=rng))
            x = int(torch.randint(lr.shape[2] - self.patch + 1, (1,), generator=rng))
            turn = int(torch.randint(8, (1,), generator=rng))
            for image, factor, out in ((lr, 1, lrs), (hr, self.scale, hrs)):
                p, top, left = self.patch * factor, y * factor, x * factor
                out.append(_turn(image[:, top : top + p, left : left + p], turn))
        return tuple(torch.stack(images).to(device).float() / 255 for images in (lrs, hrs))


def _turn(image: torch.Tensor, turn: int) -> torch.Tensor:
    """One of the 8 symmetries of the square."""
    image = image.rot90(turn % 4, (1, 2))
    return image.flip(2) if turn >= 4 else image
