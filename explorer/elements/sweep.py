"""A sweep as elements: PSNR by bits, by size of the set and by cost, and a number by any two fields."""

from __future__ import annotations

import math

import holoviews as hv
import numpy as np

from explorer.choices.sweep_grid import COSTS
from explorer.elements.colors import ACCENT, METHOD_COLORS, NEUTRAL, PALETTE
from explorer.elements.theme import COLOR_BAR, figure, tip
from explorer.pipeline.sweep_rows import Shown, Table

HEIGHT = 300
MAX_LOSS = 8.0  # dB below the best that is drawn: what is worse is no picture, and would press the rest flat
TICKS = [1, 3, 10, 30, 100, 300, 1000, 3000]
TIP = (
    "@label: @psnr{0.00} dB, @kib{0,0} KiB, @gbitops{0,0} GBitOPs, with side information "
    "@effective_weight_bits{0.0} bits a weight, @effective_activation_bits{0.0} an activation"
)
COST_NAMES = {
    field: name[0].lower() + name[1:] if name[1].islower() else name for name, field in COSTS.items()
}


def by_bits(data: Shown) -> hv.Overlay:
    """Draw the PSNR of every configuration by its bits, and a line for each method."""
    lines = [_line(x, y, method, 1.5) for method, (x, y) in data.by_bits.items()]
    bits = data.dots["activation_bits"]
    return hv.Overlay([*lines, _dots(data, "activation_bits")]).opts(
        **_figure(data, "sweep bits", "PSNR by bits", "bits of the activations", "x"),
        xlim=(min(bits) - 0.4, max(bits) + 0.4),
    )  # fmt: skip


def by_set(data: Shown) -> hv.Overlay:
    """Draw the PSNR by the size of the universal set, a line for each method and bits."""
    lines = [_line(x, y, method, 1.2) for method, _, x, y in data.by_set]
    sizes = [size for size in data.dots["set_size"] if size == size] or [10, 1000]
    # Room at the right for the texts.
    limits = (min(sizes) / 1.3, max(sizes) * (max(sizes) / min(sizes)) ** 0.45 * 1.5)
    ticks = [(size, f"{size:,}") for size in TICKS]
    return hv.Overlay([*lines, _dots(data, "set_size"), _end_labels(data)]).opts(
        **_figure(data, "sweep sets", "PSNR by size of the set", "points in the set (log)", ""),
        logx=True, xlim=limits, xticks=ticks,
    )  # fmt: skip


def by_cost(data: Shown, cost: str) -> hv.Overlay:
    """Draw the PSNR by what it costs, a field of COSTS, and the Pareto front."""
    front = hv.Curve(data.front[cost], "x", "y").opts(
        interpolation="steps-post", color=ACCENT, line_width=1.5, alpha=0.8
    )
    costs = data.dots[cost]
    edge = 0.05 * max(max(costs) - min(costs), 0.05 * max(costs))
    return hv.Overlay([front, _dots(data, cost)]).opts(
        **_figure(data, "sweep cost", "PSNR by cost", COST_NAMES[cost], ""),
        xlim=(min(costs) - edge, max(costs) + edge),
    )  # fmt: skip


def table(data: Table, across: str, down: str, value: str) -> hv.Overlay:
    """Draw the mean of a number for every two values of two fields; the last three say what they are."""
    cells = data.cells
    heat = hv.HeatMap(
        (cells["x"], cells["y"], cells["value"], cells["number"]), ["x", "y"], ["value", "number"]
    )
    texts = [f"{round(v, 2) + 0.0:.2f}" if math.isfinite(v) else "" for v in cells["value"]]
    finite = [v for v in cells["value"] if math.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    colors = np.where(np.array(cells["value"]) > (low + high) / 2, "#202020", "#f5f5f5")
    words = hv.Labels((cells["x"], cells["y"], texts, colors), ["x", "y"], ["text", "color"])
    shown = heat.redim.values(x=data.across, y=data.down[::-1]).opts(
        cmap=PALETTE, clim=(low, max(high, low + 1e-6)), colorbar=True, clabel=value, colorbar_opts=COLOR_BAR,
        **tip("@x, @y: @value{0.000}, mean of @number rows"), line_width=0,
    ) * words.opts(text_color="color", text_font_size="11px")  # fmt: skip
    slanted = max((len(text) for text in data.across), default=0) >= 12
    return shown.opts(
        **figure("sweep table", f"{value}, mean", 340, show_grid=False),
        xlabel=across, ylabel=down, xrotation=36 if slanted else 0,
    )  # fmt: skip


def limits(data: Shown) -> tuple[float, float]:
    """Return the range of the PSNR that is drawn."""
    high = max(data.dots["psnr"])
    low = max(min(data.dots["psnr"]), high - MAX_LOSS)
    return low - 0.06 * max(high - low, 0.5), high + 0.06 * max(high - low, 0.5)


def line_ends(data: Shown, low: float, high: float) -> dict[str, list]:
    """Return the bits at the right end of each line; one text for ends too near each other for two."""
    found = sorted((line[3][-1], line[2][-1], line[1], line[0]) for line in data.by_set if line[3][-1] > low)
    groups: list[list[tuple]] = []
    for end in found:
        if groups and end[0] - groups[-1][0][0] < 0.09 * (high - low):
            groups[-1].append(end)
        else:
            groups.append([end])
    same = [len({end[3] for end in group}) == 1 for group in groups]
    return dict(
        x=[max(end[1] for end in group) for group in groups],
        y=[sum(end[0] for end in group) / len(group) for group in groups],
        label=[", ".join(map(str, sorted({end[2] for end in group}))) + " bits" for group in groups],
        color=[
            METHOD_COLORS.get(group[0][3], NEUTRAL) if alike else NEUTRAL
            for group, alike in zip(groups, same, strict=True)
        ],
    )


def _figure(data: Shown, name: str, title: str, x: str, whole: str) -> dict:
    return figure(name, title, HEIGHT, whole=whole, xlabel=x, ylabel="PSNR / dB", ylim=limits(data))


def _line(x, y, method: str, width: float) -> hv.Curve:
    return hv.Curve((x, y), "x", "y").opts(color=METHOD_COLORS.get(method, NEUTRAL), line_width=width)


def _dots(data: Shown, field: str) -> hv.Points:
    values = data.dots | {"color": [METHOD_COLORS.get(method, NEUTRAL) for method in data.dots["method"]]}
    others = [name for name in values if name not in (field, "psnr")]
    dots = hv.Points(values, [field, "psnr"], others)
    return dots.opts(color="color", size=8, alpha=0.8, **tip(TIP))


def _end_labels(data: Shown) -> hv.Labels:
    ends = line_ends(data, *limits(data))
    texts = [f"  {text}" for text in ends["label"]]
    found = hv.Labels((ends["x"], ends["y"], texts, ends["color"]), ["x", "y"], ["label", "color"])
    return found.opts(text_color="color", text_font_size="11px", text_align="left")
