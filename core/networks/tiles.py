"""Super-resolve by tiles: the receptive field of a network, the step of its grid, and whether it is global.

A network that reduces its input inside (pixel-unshuffle, strides) or attends in windows gives the same
picture as on the whole image only on tiles that begin at multiples of its step. The step and the overlap are
found by trying, on a piece of the image.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from core.networks.running import device_and_dtype, eagerly, eval_mode, run, warn_unless_steady

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
EXACT = 2e-5  # of the picture's range: float32 rounding when equal sums are taken in another order
FAINT = 1e-4  # of the picture's range: influence of distant pixels that nobody can see
INVISIBLE = 80.0  # dB between the tiled and the whole picture from which on no warning is given
DEEPEST = 96  # LR pixels behind a cut that are compared
CORNER = 8  # LR pixels a side of the part that is farthest from the cut
FIRST_CUT, LARGEST_CUT = 37, 66  # LR pixels; 37 is a multiple of no step but 1

Run = Callable[[torch.Tensor], torch.Tensor]


class Tiling(NamedTuple):
    """A plan for tiles: they begin at multiples of `step` and see `overlap` more LR pixels on each side.

    exact: the tiled picture is the same as that of the whole image.
    """

    step: int
    overlap: int
    exact: bool


class Difference(NamedTuple):
    """By how much tiles of `side` LR pixels differ from the whole, of a network that looks at all of it.

    Measured on `width` x `height` LR pixels with tiles of `measured`: decibels of the picture's range, and
    the largest difference in 8-bit levels. As a text, one sentence without its full stop.
    """

    network: str
    side: int
    width: int
    height: int
    measured: int
    decibels: float
    levels: float

    def __str__(self) -> str:
        return (
            f"{self.network} looks at the whole picture, and tiles of {self.side} pixels show a part: on "
            f"{self.width}×{self.height} pixels, tiles of {self.measured} are {self.decibels:.1f} dB from "
            f"the whole, by up to {self.levels:.1f} 8-bit levels"
        )


class _Reach(TorchFunctionMode):
    """A mode that sums how far every convolution looks, in pixels of an image that is `width` pixels wide.

    It also sees convolutions that are called as functions. Convs on a reduced map look further in the image.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width, self.radius = width, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        transposed = function in (F.conv_transpose2d, torch.ops.aten.conv_transpose2d.input)
        if transposed or function in (F.conv2d, torch.ops.aten.conv2d.default):
            given = dict(enumerate(args)) | kwargs
            x, weight = (given.get(at, given.get(name)) for at, name in enumerate(("input", "weight")))
            dilation = given.get("dilation", given.get(7 if transposed else 5, 1))
            reduced = max(1, -(-self.width // x.shape[-1]))
            self.radius += int(np.max(dilation)) * (max(weight.shape[-2:]) // 2) * reduced
        return function(*args, **kwargs)


@torch.no_grad()
def receptive_radius(model: nn.Module) -> int:
    """Return how far an output pixel looks, in LR pixels: the sum over the convs that run.

    An upper bound for networks of convolutions: a shared conv counts at every call, a conv on a reduced map
    counts more accordingly, a conv after an upsampling as if it came before. Pooling, attention and means
    over the whole image are not seen. An attribute `receptive_radius` of the network takes precedence.

    >>> from torch import nn
    >>> from core import receptive_radius
    >>> receptive_radius(nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.Conv2d(8, 3, 3, padding=1)))
    3
    """
    if isinstance(known := getattr(model, "receptive_radius", None), int):
        return known
    side = 32
    with eval_mode(model), eagerly(), _Reach(side) as reach:
        run(model, torch.zeros(1, 3, side, side))
    return reach.radius


def by_tiles(
    model: nn.Module,
    lr: torch.Tensor,
    tile: int,
    own: Run,
    progress: Callable[[float], None],
    tell: Callable[[Difference], None],
) -> torch.Tensor:
    """Return the picture that `own`, which runs `model`, gives of `lr`, by tiles of about `tile` pixels.

    Tiles overlap by the receptive radius. If no tiling gives the same picture as the whole image, an image
    that is no larger than a tile with its overlap is run whole; for a larger one `tell` hears by how
    much tiles differ, if that can be seen. It is measured within the memory of one tile: between a tile and
    smaller tiles in its place.
    """
    plan = tiling(model, lr, own)
    side = max(plan.step, tile // plan.step * plan.step)
    if not plan.exact:
        seen = side + 2 * plan.overlap
        if max(lr.shape[-2:]) <= seen:
            sr = own(lr)
            progress(1.0)
            return sr
        difference = _difference(model, _busiest(lr, seen), side, plan, own)
        if difference.decibels < INVISIBLE:
            tell(difference)
    return _tiled(lr, side, plan, own, progress)


def tiling(model: nn.Module, lr: torch.Tensor, own: Run) -> Tiling:
    """Return how to cut images like `lr` into tiles, found by trying on a piece of it.

    Far enough behind a cut, the picture must be the same as without the cut. The trial leaves out quantizers
    of activations: near a midpoint they enlarge the last digits of float32, and dynamic ones use the
    statistics of each tile, as documented.
    """
    reach = receptive_radius(model)
    depth = min(max(reach + CORNER, 32), DEEPEST)
    trial = _trial_copy(model)
    run_trial = own if trial is None else lambda x: run(trial, x)
    with eagerly():
        first = _Trial(lr, FIRST_CUT + depth, run_trial)
        warn_unless_steady(model, first.whole, run_trial(first.piece))
        found = first.behind(FIRST_CUT)
        if found.floor <= found.exact:
            return Tiling(1, max(reach, found.reach(found.exact)), True)
        larger = _Trial(lr, LARGEST_CUT + DEEPEST, run_trial)
        step = _step(larger)
        found = larger.behind(LARGEST_CUT // step * step)
    exact = found.floor <= found.exact
    limit = found.exact if exact else max(2 * found.floor, FAINT / EXACT * found.exact)
    overlap = max(reach, found.reach(limit))
    return Tiling(step, overlap + -overlap % step, exact)


def _step(trial: _Trial) -> int:
    """Return the smallest step whose multiples can be cut off with (nearly) the least effect.

    The effect is the change of the picture a pixel of the cut.
    """
    floors: dict[int, float] = {}
    for step in STEPS:
        others = [other for other in STEPS if other > step]
        cuts = range(step, LARGEST_CUT + 1, step)
        cut = max(cut for cut in cuts if all(cut % other for other in others))
        found = trial.behind(cut)
        floors[step] = found.floor / cut
        if found.floor <= found.exact:
            return step
    return next(step for step, floor in floors.items() if floor <= 3 * min(floors.values()))


class _Behind(NamedTuple):
    """What a cut at the top and left changes: the largest change beyond each distance in LR pixels."""

    errors: list[float]
    exact: float  # a change that rounding alone explains

    @property
    def floor(self) -> float:
        """The change that is left farthest from the cut."""
        return self.errors[-CORNER]

    def reach(self, limit: float) -> int:
        """Return the distance in LR pixels beyond which no change exceeds `limit`."""
        return next((at for at, error in enumerate(self.errors) if error <= limit), len(self.errors))


class _Trial:
    """A piece of an image, with the picture of it without a cut."""

    def __init__(self, lr: torch.Tensor, side: int, own: Run):
        self.own, self.piece = own, _mirrored(_busiest(lr[:1], side), side)
        self.whole = own(self.piece)
        self.exact = EXACT * max(float(self.whole.max() - self.whole.min()), 1e-3)

    def behind(self, cut: int) -> _Behind:
        """Compare the picture with that of the piece without its first `cut` rows and columns."""
        part = self.own(self.piece[..., cut:, cut:])
        scale = self.whole.shape[-1] // self.piece.shape[-1]
        away = (part - self.whole[..., cut * scale :, cut * scale :]).abs().amax((0, 1))
        most = away.flip(0, 1).cummax(0).values.cummax(1).values.flip(0, 1)
        return _Behind(most.diagonal()[::scale].tolist(), self.exact)


def _trial_copy(model: nn.Module) -> nn.Module | None:
    """Return the network in float32 without quantizers of activations.

    None if it is such a network already or cannot be copied.
    """
    quantized = [m for m in model.modules() if hasattr(m, "activation_quantizer")]
    if not quantized and device_and_dtype(model)[1] in (None, torch.float32):
        return None
    try:
        trial = copy.deepcopy(model).float()
    except RuntimeError:  # torch refuses to copy networks whose weights are computed from others
        return None
    for module in trial.modules():
        if hasattr(module, "activation_quantizer"):
            module.activation_quantizer = nn.Identity()
    return trial


def _busiest(lr: torch.Tensor, side: int) -> torch.Tensor:
    """Return the piece of `lr` of at most side x side pixels that has the largest variance."""
    height, width = (min(side, n) for n in lr.shape[-2:])
    starts = [
        [*range(0, n - size, max(1, size // 2)), n - size]
        for n, size in zip(lr.shape[-2:], (height, width), strict=True)
    ]
    pieces = [lr[..., y : y + height, x : x + width] for y in starts[0] for x in starts[1]]
    return max(pieces, key=lambda piece: float(piece.float().var()) if piece.numel() > 1 else 0.0)


def _mirrored(lr: torch.Tensor, side: int) -> torch.Tensor:
    """Extend `lr` by mirrored copies of itself to side x side pixels."""
    for dim in (-2, -1):
        while lr.shape[dim] < side:
            lr = torch.cat([lr, lr.flip(dim)], dim)
        lr = lr.narrow(dim, 0, side)
    return lr


def _difference(model: nn.Module, piece: torch.Tensor, side: int, plan: Tiling, own: Run) -> Difference:
    whole, half = own(piece), max(plan.step, side // 2 // plan.step * plan.step)
    away = (_tiled(piece, half, plan, own) - whole).abs()
    span = max(float(whole.max() - whole.min()), 1e-3)
    decibels = -20 * math.log10(max(float(away.square().mean().sqrt()) / span, 1e-9))
    height, width = piece.shape[-2:]
    levels = 255 * float(away.max())
    return Difference(type(model).__name__, side, width, height, half, decibels, levels)


def _tiled(
    lr: torch.Tensor,
    side: int,
    plan: Tiling,
    own: Run,
    progress: Callable[[float], None] = lambda share: None,
) -> torch.Tensor:
    height, width = lr.shape[-2:]
    corners = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    result = None
    for done, (top, left) in enumerate(corners, 1):
        y0, x0 = max(0, top - plan.overlap), max(0, left - plan.overlap)
        bottom, right = min(height, top + side), min(width, left + side)
        patch = lr[..., y0 : min(height, bottom + plan.overlap), x0 : min(width, right + plan.overlap)]
        sr = own(patch)
        scale = sr.shape[-1] // patch.shape[-1]
        if result is None:
            result = sr.new_empty(*sr.shape[:2], height * scale, width * scale)
        y, x = slice(top * scale, bottom * scale), slice(left * scale, right * scale)
        rows = slice((top - y0) * scale, (bottom - y0) * scale)
        columns = slice((left - x0) * scale, (right - x0) * scale)
        result[..., y, x] = sr[..., rows, columns]
        progress(done / len(corners))
    return result
