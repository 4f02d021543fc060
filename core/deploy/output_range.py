"""Check the output range: what the outputs on the representative images mean for INT8."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from core.images.metrics import colour_shift
from core.models import has_clip, without_clip
from core.networks.running import run
from core.ptq.calibration import with_share
from core.utils.progress import Progress

LEVELS = 256  # number of INT8 levels
HALF_LEVEL = 0.5 / 255  # half a level of an 8-bit image
WASTE = 0.05  # share of wasted levels from which on advice is given
SHIFT = 0.5  # of an 8-bit level: more than rounding alone explains


@dataclasses.dataclass(frozen=True)
class OutputRange:
    """Findings on the outputs of a network without its clip, each with one sentence of advice.

    low, high: lowest and highest output. beyond: share of the values outside [0, 1]. wasted: share of the 256
    levels between low and high that lie outside [0, 1]. black, white: whether an output comes within half an
    8-bit level of 0 or below, of 1 or above; otherwise INT8 saturates before it. colour_shift: in 8-bit
    levels, of the INT8 network against the float one with its outputs clipped; None without an INT8 network.
    given: lowest and highest output of an INT8 network whose last layers stay float, which has no range of
    its own: then no level is wasted, and black and white are within reach; else None. advice: finding ->
    sentence.
    """

    low: float
    high: float
    beyond: float
    wasted: float
    black: bool
    white: bool
    colour_shift: float | None
    given: tuple[float, float] | None
    advice: dict[str, str]

    def __str__(self) -> str:
        return "\n".join(self.advice.values())


@torch.no_grad()
def output_range(
    model: nn.Module,
    images: Sequence[torch.Tensor] | torch.Tensor,
    int8: nn.Module | None = None,
    progress: Progress = lambda what, share: None,
) -> OutputRange:
    """Run the float network without its clip on LR images and judge the range that INT8 would take from it.

    images: (N, 3, H, W) or a sequence of such, in [0, 1]. int8: the quantized network (`OnnxNetwork`) whose
    colour shift is measured; if its last layers are float (`float_output`), also what it gives. ValueError
    for no images. `progress(what, share)` may raise to cancel.
    """
    if has_clip(model):
        model = without_clip(model)
    low, high, outside, values = float("inf"), float("-inf"), 0, 0
    given = float("inf"), float("-inf")
    shifts: list[float] = []
    for batch, share in with_share(images):
        sr = run(model, batch).cpu()
        low, high = min(low, float(sr.min())), max(high, float(sr.max()))
        outside += int(((sr < -HALF_LEVEL) | (sr > 1 + HALF_LEVEL)).sum())
        values += sr.numel()
        if int8 is not None:
            made = run(int8, batch)
            given = min(given[0], float(made.min())), max(given[1], float(made.max()))
            shifts += [colour_shift(a[None], b[None]) for a, b in zip(made, sr, strict=True)]
        progress("Checking the output's range", share)
    shift = sum(shifts) / len(shifts) if shifts else None
    return judge(low, high, outside / values, shift, given if getattr(int8, "float_output", False) else None)


def judge(
    low: float,
    high: float,
    beyond: float,
    shift: float | None = None,
    given: tuple[float, float] | None = None,
) -> OutputRange:
    """Return the findings for outputs from `low` to `high`, a share `beyond` of which lies outside [0, 1].

    shift, given: as of `OutputRange`.
    """
    # The range of an INT8 engine always includes 0, so that zero padding has a level.
    width = max(high, 0.0) - min(low, 0.0)
    wasted = (max(-low, 0.0) + max(high - 1, 0.0)) / width if width else 0.0
    black, white = low <= HALF_LEVEL, high >= 1 - HALF_LEVEL
    if given is None:
        advice = _of_integers(low, high, beyond, wasted)
    else:
        wasted, black, white = 0.0, True, True
        advice = _of_floats(low, high, beyond, given)
    if shift is not None:
        advice["colour_shift"] = (
            f"INT8 shifts the mean colour of these images by {shift:.2f} of an 8-bit level"
            + (
                "; look for a saturating layer, or keep the last convolution float."
                if shift > SHIFT
                else ", which nobody sees."
            )
        )
    return OutputRange(low, high, beyond, wasted, black, white, shift, given, advice)


def _of_floats(low: float, high: float, beyond: float, given: tuple[float, float]) -> dict[str, str]:
    """Advise on a file whose last layers are float."""
    return {
        "range": f"The float network's outputs lie between {_number(low)} and {_number(high)}. The last "
        f"layers of the file are float, so INT8 does not hold its outputs there: on these images it gives "
        f"{_number(given[0])} to {_number(given[1])}.",
        "beyond": f"{100 * beyond:.2f} % of the float network's values lie beyond [0, 1]; clip what the file "
        "gives to [0, 1] before you show it.",
        "wasted": "No level is wasted: the output has no levels.",
        "black": "Black is reachable.",
        "white": "White is reachable.",
    }


def _of_integers(low: float, high: float, beyond: float, wasted: float) -> dict[str, str]:
    """Advise on a file whose output is INT8."""
    black, white = low <= HALF_LEVEL, high >= 1 - HALF_LEVEL
    return {
        "range": f"The outputs lie between {_number(low)} and {_number(high)}"
        + (
            ": give images that use more of [0, 1]."
            if high - low < 0.5
            else ", which is what INT8 will span."
        ),
        "beyond": f"{100 * beyond:.2f} % of the values lie beyond [0, 1]"
        + ("; crop those regions or reduce their contrast." if beyond else ", so no clip is needed here."),
        "wasted": f"{round(wasted * LEVELS)} of {LEVELS} levels lie beyond [0, 1]"
        + (
            ": tame the images, or the picture has fewer."
            if wasted > WASTE
            else "; that costs nothing to see."
        ),
        "black": "Black is reachable."
        if black
        else f"No output is darker than {_number(low)}: add images with black, unless the engine adds 0 "
        "itself.",
        "white": "White is reachable."
        if white
        else f"INT8 saturates at {_number(high)}, so white turns grey: add bright images or tame them less.",
    }


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")
