"""Super-resolve by tiles: how far a network looks, the step of its grid, and whether it looks at the whole.

A network that reduces its input inside (pixel-unshuffle, strides) or attends in windows gives the picture of
the whole only on tiles that begin at multiples of its step. Both are found by trying, on a piece
of the image.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from core.networks.running import device_and_dtype, eagerly, eval_mode, run

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
EXACT = 2e-5  # of the picture's range: what float32 leaves of equal sums in another order
FAINT = 1e-4  # of the picture's range: where the influence of what is far ends for all that can be seen
INVISIBLE = 80.0  # dB between the picture by tiles and that of the whole, from which on nothing is said
DEEPEST = 96  # LR pixels behind a cut that are looked at
CORNER = 8  # LR pixels a side of the piece that is farthest from the cut
FIRST_CUT, LARGEST_CUT = 37, 66  # LR pixels; the first is a multiple of no step but 1

Run = Callable[[torch.Tensor], torch.Tensor]


class Tiling(NamedTuple):
    """Tiles begin at multiples of `step` and see `overlap` more pixels on each side (LR pixels).

    exact: so they give the picture of the whole.
    """

    step: int
    overlap: int
    exact: bool


class _Reach(TorchFunctionMode):
    """Adds up how far every convolution looks, in pixels of an image of `width` pixels.

    Also one that is called as a function. Convs on a smaller map look further in the image.
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
    """How far, in LR pixels, an output pixel looks: the sum over the convs that run.

    An upper bound for networks of convolutions: shared convs count at every call, convs on a reduced map by
    as much more, convs after an upsampling as if before it. Pooling, attention and means over the whole image
    are not seen. A network that knows better says so as its attribute `receptive_radius`.
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
) -> torch.Tensor:
    """The picture that `own`, which runs `model`, gives of `lr`, by tiles of about `tile` pixels.

    Tiles overlap by as far as the network looks. Where no tiles give the picture of the whole, an image that
    is no larger than a tile with its overlap is run whole, and a warning says of others by how much tiles
    differ. It is measured in the memory that a tile takes: between a tile and smaller ones in its place.
    """
    plan = tiling(model, lr, own)
    side = max(plan.step, tile // plan.step * plan.step)
    if not plan.exact:
        seen = side + 2 * plan.overlap
        if max(lr.shape[-2:]) <= seen:
            sr = own(lr)
            progress(1.0)
            return sr
        _say_difference(model, _busiest(lr, seen), side, plan, own)
    return _tiled(lr, side, plan, own, progress)


def tiling(model: nn.Module, lr: torch.Tensor, own: Run) -> Tiling:
    """How to cut images like `lr`, found on a piece of it.

    Far enough behind a cut, the picture has to be what it is without the cut. Quantizers of activations are
    left out of the trial: next to a midpoint they make much of float32's last digits, and dynamic ones take
    each tile's own statistics, as documented.
    """
    reach = receptive_radius(model)
    depth = min(max(reach + CORNER, 32), DEEPEST)
    trial = _trial_copy(model)
    run_trial = own if trial is None else lambda x: run(trial, x)
    with eagerly():
        found = _Trial(lr, FIRST_CUT + depth, run_trial).behind(FIRST_CUT)
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
    """The smallest step whose multiples can be cut off with as little effect, a pixel, as those of any."""
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
    """What a cut at the top and left changes: by LR pixels of distance, the most beyond that distance."""

    errors: list[float]
    exact: float  # what rounding explains

    @property
    def floor(self) -> float:
        return self.errors[-CORNER]

    def reach(self, limit: float) -> int:
        return next((at for at, error in enumerate(self.errors) if error <= limit), len(self.errors))


class _Trial:
    """A piece of an image, and the picture of it without a cut."""

    def __init__(self, lr: torch.Tensor, side: int, own: Run):
        self.own, self.piece = own, _mirrored(_busiest(lr[:1], side), side)
        self.whole = own(self.piece)
        self.exact = EXACT * max(float(self.whole.max() - self.whole.min()), 1e-3)

    def behind(self, cut: int) -> _Behind:
        part = self.own(self.piece[..., cut:, cut:])
        scale = self.whole.shape[-1] // self.piece.shape[-1]
        away = (part - self.whole[..., cut * scale :, cut * scale :]).abs().amax((0, 1))
        most = away.flip(0, 1).cummax(0).values.cummax(1).values.flip(0, 1)
        return _Behind(most.diagonal()[::scale].tolist(), self.exact)


def _trial_copy(model: nn.Module) -> nn.Module | None:
    """The network in float32 without quantizers of activations; None where it is that, or no copy is made."""
    quantized = [m for m in model.modules() if hasattr(m, "activation_quantizer")]
    if not quantized and device_and_dtype(model)[1] in (None, torch.float32):
        return None
    try:
        trial = copy.deepcopy(model).float()
    except RuntimeError:  # torch copies no network whose weights are computed from others
        return None
    for module in trial.modules():
        if hasattr(module, "activation_quantizer"):
            module.activation_quantizer = nn.Identity()
    return trial


def _busiest(lr: torch.Tensor, side: int) -> torch.Tensor:
    """The piece of `lr` of at most side x side pixels that varies most."""
    height, width = (min(side, n) for n in lr.shape[-2:])
    starts = [
        [*range(0, n - size, max(1, size // 2)), n - size]
        for n, size in zip(lr.shape[-2:], (height, width), strict=True)
    ]
    pieces = [lr[..., y : y + height, x : x + width] for y in starts[0] for x in starts[1]]
    return max(pieces, key=lambda piece: float(piece.float().var()) if piece.numel() > 1 else 0.0)


def _mirrored(lr: torch.Tensor, side: int) -> torch.Tensor:
    """`lr` with mirrored copies of itself up to side x side pixels."""
    for dim in (-2, -1):
        while lr.shape[dim] < side:
            lr = torch.cat([lr, lr.flip(dim)], dim)
        lr = lr.narrow(dim, 0, side)
    return lr


def _say_difference(model: nn.Module, piece: torch.Tensor, side: int, plan: Tiling, own: Run) -> None:
    whole, half = own(piece), max(plan.step, side // 2 // plan.step * plan.step)
    away = (_tiled(piece, half, plan, own) - whole).abs()
    span = max(float(whole.max() - whole.min()), 1e-3)
    away_db = -20 * math.log10(max(float(away.square().mean().sqrt()) / span, 1e-9))
    if away_db < INVISIBLE:
        height, width = piece.shape[-2:]
        warnings.warn(
            f"{type(model).__name__} looks at the whole picture, and tiles of {side} pixels show a part: on "
            f"{width}×{height} pixels, tiles of {half} are {away_db:.1f} dB from the whole, by up to "
            f"{255 * float(away.max()):.1f} 8-bit levels; leave `tile` out to run it whole",
            stacklevel=6,
        )


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
