"""What a key stands for: networks and images, wherever they come from, held while somebody uses them.

The rest of the explorer knows keys, plain texts that its caches can hold, and asks here what they stand for.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from explorer.jobs.cache import forget

PREFIX = "own:"  # of what a visitor, a program or the owner of a server brought
_lock = threading.Lock()
_known: dict[str, NetworkSource | ImageSource] = {}
_users: collections.Counter[str] = collections.Counter()


class NetworkSource:
    """A float network that can be shown.

    name: for people; scale: the factor by which it enlarges; layers: those that are quantized, in the order
    of the network, with their input channels; about: one or two sentences; stem: how names of files made with
    it begin; imports, code: the lines and the expression of Python that make it; trained: its bundled
    trainings, besides float; patches: LR images (N, 3, H, W) to calibrate on, the packaged ones if None.
    """

    name: str
    scale: int
    layers: Mapping[str, int]
    about: str
    stem: str
    code: str
    imports: Sequence[str] = ()
    trained: Sequence[str] = ()
    patches: torch.Tensor | None = None
    default_scope = True  # whether the layers are those that core quantizes by itself

    def make(self) -> nn.Module:
        """Return the float network, in eval mode."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """An image as HR, or as LR without ground truth. code: the expression of Python that reads it."""

    name: str
    pixels: np.ndarray  # (H, W, 3) uint8, read-only
    is_lr: bool = False
    code: str = ""
    transparent: bool = False  # whether it had pixels that were put on white

    @property
    def bytes(self) -> int:
        """Size of the image in memory."""
        return self.pixels.nbytes


def hold(things: Mapping[str, NetworkSource | ImageSource]) -> None:
    """Keep what the keys stand for until `release` was called as often."""
    with _lock:
        _known.update(things)
        _users.update(things.keys())


def release(keys: Iterable[str]) -> None:
    """Drop what nobody else holds, and all that was computed from it."""
    gone = []
    with _lock:
        for key in keys:
            _users[key] -= 1
            if _users[key] <= 0:
                del _users[key]
                _known.pop(key, None)
                gone.append(key)
    for key in gone:
        forget(key)


def source(key: str) -> NetworkSource | ImageSource:
    """Return what a key stands for; ValueError if it is not here any more."""
    if (found := _known.get(key)) is None:
        raise ValueError(f"{file_name(key)} is no longer loaded; choose it again")
    return found


def is_own(key: str) -> bool:
    """Tell whether the key is that of something that was brought, not bundled."""
    return key.startswith(PREFIX)


def file_name(key: str) -> str:
    """Return the name of what somebody brought, in its key, also another visitor's; any other key itself."""
    return key.split(":", 3)[-1]
