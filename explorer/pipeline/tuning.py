"""Ranges tuned by distillation: choices -> tuned network, losses and picture, cached over all sessions."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cachetools
import numpy as np
import torch

import core
from explorer.choices.catalog import scale_of
from explorer.jobs.cache import shared
from explorer.jobs.token import Token
from explorer.pipeline import pictures
from explorer.pipeline.activations import ReadOnly, calibration_images, network, pair

PATCH = 48  # LR pixels of a crop, at most
DIVERGED = "The tuning of {} diverged: its loss is not a number any more; choose more bits or another method"
Losses = list[tuple[int, float]]  # step and loss


class TuningRequest(NamedTuple):
    """The arguments of `tuned`; own: as of `activations.calibration_images`."""

    network: str
    config: core.QuantConfig
    steps: int
    float_layers: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tuned(ReadOnly):
    """A network with tuned ranges, and the loss after every step."""

    network: torch.nn.Module
    losses: np.ndarray


class _Begun(cachetools.LRUCache):
    """The losses of this server's tunings, by request; a forgotten one takes its checkpoint along."""

    def popitem(self) -> tuple[TuningRequest, Losses]:
        request, losses = super().popitem()
        _checkpoint(request).unlink(missing_ok=True)
        return request, losses


_losses = _Begun(32)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    """Return the folder of checkpoints, which is deleted when the server ends."""
    return tempfile.TemporaryDirectory(prefix="tuning-")


def _checkpoint(request: TuningRequest) -> Path:
    """Return the file from which a stopped tuning goes on."""
    return (
        Path(_folder().name) / f"{hashlib.blake2b(repr(request).encode(), digest_size=16).hexdigest()}.ckpt"
    )


def losses(request: TuningRequest) -> Losses:
    """Return the losses so far, of a tuning under way, stopped or done."""
    return list(_losses.get(request, []))


def done(network: str, config: core.QuantConfig, own: tuple[str, ...]) -> list[TuningRequest]:
    """Return the tunings of a configuration that are there, by steps; of networks without float layers."""
    found = [
        r for r in list(_losses) if r[:2] == (network, config) and r[3:] == ((), own) and tuned.known(*r)
    ]
    return sorted(found, key=lambda request: request.steps)


@shared(
    3e8,
    lambda found: sum(t.nbytes for t in (*found.network.parameters(), *found.network.buffers())),
    as_key=TuningRequest,
)
def tuned(*asked, token: Token) -> Tuned:
    """Tune the ranges of a static method on the calibration images; the arguments are a `TuningRequest`.

    A tuning that was stopped on this server goes on where it was.
    """
    request = TuningRequest(*asked)
    name, config, steps, float_layers, own = request
    found = _losses[request] = []
    quantized = pictures.quantized(name, config, float_layers, None, own, token=token)
    images = calibration_images(name, own, token=token)
    checkpoint, begun, before = _checkpoint(request), time.monotonic(), None

    def progress(what: str, share: float) -> None:
        nonlocal before
        if before is None:
            before = share - 1 / steps  # what a stopped tuning had done already
        left = (time.monotonic() - begun) * (1 - share) / (share - before)
        token.progress(f"{what}, {in_words(left)} left", share)

    try:
        made = core.tune_ranges(
            network(name, token=token),
            quantized,
            images,
            steps=steps,
            patch=min(PATCH, *images.shape[-2:]),
            checkpoint=checkpoint,
            progress=progress,
            report=lambda step, loss: found.append((step, loss)),
        )
    except FloatingPointError as error:
        checkpoint.unlink(missing_ok=True)
        raise ValueError(DIVERGED.format(config)) from error
    checkpoint.unlink(missing_ok=True)
    return Tuned(made, np.array([loss for _, loss in found]))


def in_words(seconds: float) -> str:
    """Write a time: 40 s or 3 min.

    >>> in_words(41.2), in_words(170)
    ('41 s', '3 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@shared(1e8, lambda picture: picture.rgb.nbytes)
def tuned_picture(image: str, region: str, *asked, token: Token) -> pictures.Picture:
    """Compute the picture of the tuned network; after image and region, a `TuningRequest`."""
    request = TuningRequest(*asked)
    _, lr, _ = pair(image, scale_of(request.network), region, token=token)
    sr, tiles = pictures.by_tiles(tuned(*request, token=token).network, lr, token)
    before = (request.network, image, region, request.config, request.float_layers, None, request.own)
    effective = pictures.picture(*before, token=token).effective  # ranges moved, and cost what they did
    shown = pictures.scored(sr, request.network, image, region, token)
    return dataclasses.replace(shown, tiles=tiles, effective=effective)
