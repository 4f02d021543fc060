"""A training seen from inside, as elements: curves over the steps, and what a layer receives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import holoviews as hv
import numpy as np

from explorer.elements.colors import ACCENT, NEUTRAL
from explorer.elements.theme import LEGEND, figure, named_part, room

HEIGHT, TUNING_HEIGHT = 170, 240
AVERAGED = 20  # steps that the broad line of a tuning's loss is the mean of
LINE = "#0072B2"
BEFORE, NOW, AFTER = "#8A9199", "#E3342F", "#0072B2"
# Parts that follow the moment.
MOMENT, SHAPE, RANGE = "line of the moment", "at this step", "range learned"


@dataclasses.dataclass(frozen=True)
class Progress:
    """A figure over steps: its title, the label of its axis, and what of the record it draws."""

    title: str
    label: str
    field: str
    by_layer: bool = True


CURVES = (
    Progress("Validation", "PSNR / dB", "psnr_y", by_layer=False),
    Progress("Regularizer", "‖x − q(x)‖₂", "mismatch"),
    Progress("Angle of the gradients", "cosine", "cosine"),
    Progress("Weights in conflict", "share", "conflict"),
)


def curve(drawn: Progress, card: dict, layer: str, moment: float) -> hv.Overlay:
    """Draw one number of a training's record over its steps: every layer grey, the chosen one coloured.

    card: of the run, with its "record". moment: the step of the vertical line.
    """
    record = card["record"]
    steps, every, chosen = _values(drawn, record, layer)
    mark = {"hooks": [named_part(MOMENT)]}
    parts = [hv.VLines([moment], "moment").opts(color=ACCENT, alpha=0.5, line_width=2, **mark)]
    if drawn.by_layer:
        lines = [np.column_stack([steps, values]) for values in every]
        parts.insert(0, hv.Path(lines, ["step", "value"]).opts(color=NEUTRAL, alpha=0.35))
    parts.append(hv.Curve((steps, chosen), "step", "value").opts(color=LINE, line_width=2))
    if not drawn.by_layer:
        parts.append(hv.Scatter((steps, chosen), "step", "value").opts(color=LINE, size=5))
    label = "deviation" if drawn.field == "mismatch" and card["version"] == "v1" else drawn.label
    limits = room(np.nanmin(every), np.nanmax(every), 0.06) if np.size(every) else (0, 1)
    return hv.Overlay(parts).opts(
        **figure(f"curve {drawn.field}", drawn.title, HEIGHT),
        xlim=(0, card["steps"]), ylim=limits, xlabel="step", ylabel=label, xticks=4,
    )  # fmt: skip


def loss(losses: Sequence[tuple[int, float]], steps: int, name: str, color: str) -> hv.Overlay:
    """Draw the loss of a tuning after each of its steps, and its mean over AVERAGED of them.

    losses: (step, loss) so far, of a tuning of `steps`; name, color: of the method.
    """
    at, values = np.array(losses).T
    width = min(AVERAGED, len(values))
    mean = np.convolve(values, np.ones(width) / width, "valid")
    low, high = values.min(), values.max()
    return hv.Overlay(
        [
            hv.Curve((at, values), "step", "loss").opts(color=NEUTRAL, alpha=0.5, line_width=1),
            hv.Curve((at[width - 1 :], mean), "step", "mean").opts(color=color, line_width=2),
        ]
    ).opts(
        **figure("tuning loss", f"Loss of {name}", TUNING_HEIGHT),
        xlim=(0, steps), ylim=room(low, high, 0.06), xlabel=f"step (broad: mean of {AVERAGED})",
        ylabel="loss against the float network",
    )  # fmt: skip


def received(card: dict, layer: str, moment: float) -> hv.Overlay:
    """Draw what a layer of the network receives before, at the moment and at the end, and its range then."""
    record = card["record"]
    low, high = record["spans"][layer]
    found = shapes(record, layer, moment)
    parts = [_shape(name, share, low, high, color) for name, (share, color) in found.items()]
    lines = hv.VLines(range_at(record, layer, moment), "end")
    look = dict(color=NOW, line_dash="dashed", line_width=1, hooks=[named_part(RANGE)])
    return hv.Overlay([*parts, lines.opts(**look)]).opts(
        **figure("layer in training", f"Input of {layer}", 240),
        xlim=(low, high), ylim=(0, height(found)),
        xlabel="activation (dashed: the range learned)", ylabel="share of the values",
        legend_position="top_right", legend_opts=LEGEND,
    )  # fmt: skip


def _values(drawn: Progress, record: dict, layer: str):
    """Return the steps, what all layers (or the one curve) have there, and what the chosen layer has."""
    if not drawn.by_layer:
        values = np.array(record["psnr"]["psnr_y"], float)
        return record["psnr"]["step"], values[None], values
    values = np.array(record[drawn.field], float).reshape(-1, len(record["layers"])).T
    return record["step"], values, values[_index(record, layer)]


def shapes(record: dict, layer: str, moment: float) -> dict[str, tuple[np.ndarray, str]]:
    """Return how a layer's inputs are distributed before, at the moment and at the end, with colours."""
    counts = {shot["step"]: np.array(shot["histograms"][layer]) for shot in record["snapshots"]}
    steps = [step for step in counts if step is not None]
    if not steps:
        return {}
    near = min(steps, key=lambda step: abs(step - moment))
    shown = {"float network": (None, BEFORE), SHAPE: (near, NOW), "at the end": (steps[-1], AFTER)}
    return {name: (counts[step] / counts[step].sum(), color) for name, (step, color) in shown.items()}


def height(found: dict[str, tuple[np.ndarray, str]]) -> float:
    """Return the end of the axis for `shapes`: zeros after a ReLU tower above the rest."""
    return 1.1 * max((float(np.partition(share, -2)[-2]) for share, _ in found.values()), default=1.0)


def _shape(name: str, share: np.ndarray, low: float, high: float, color: str) -> hv.Element:
    edges = np.linspace(low, high, len(share) + 1)
    data = ((edges[1:] + edges[:-1]) / 2, share)
    if name == "float network":
        return hv.Area(data, "x", "top", label=name).opts(color=color, fill_alpha=0.35, line_width=0)
    return hv.Curve(data, "x", "top", label=name).opts(color=color, line_width=2, hooks=[named_part(name)])


def range_at(record: dict, layer: str, moment: float) -> list[float]:
    """Return the ends of the layer's range at the recorded step next to the moment."""
    at = int(np.argmin(np.abs(np.array(record["step"]) - moment)))
    return [record[end][at][_index(record, layer)] for end in ("low", "high")]


def _index(record: dict, layer: str) -> int:
    return record["layers"].index(layer) if layer in record["layers"] else 0
