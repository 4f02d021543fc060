"""A sweep as elements: PSNR by bits, by size of the set and by cost, and a number by any two fields."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import holoviews as hv
import numpy as np

from explorer.choices.sweep_grid import COSTS
from explorer.elements.colors import ACCENT, METHOD_COLORS, NEUTRAL, PALETTE
from explorer.elements.theme import COLOR_BAR, figure, tip
from explorer.pipeline.sweep_rows import Shown, Table

HEIGHT, TABLE_HEIGHT = 320, 340
MAX_LOSS = 8.0  # dB below the best that is drawn: what is worse is no picture, and would press the rest flat
TICKS = [1, 3, 10, 30, 100, 300, 1000, 3000]
TIP = (
    "@label: @psnr{0.00} dB, @kib{0,0} KiB, @gbitops{0,0} GBitOPs, with side information "
    "@effective_weight_bits{0.0} bits a weight, @effective_activation_bits{0.0} an activation"
)
COST_NAMES = {
    field: name[0].lower() + name[1:] if name[1].islower() else name for name, field in COSTS.items()
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """One figure of a sweep: PSNR by `field`; `behind` draws what is behind the dots, `ends` its limits."""

    name: str
    title: str
    field: str
    label: str
    behind: Callable[[Shown, str], hv.Overlay]
    ends: Callable[[Shown, str], tuple[float, float]]
    options: dict

    def figure(self) -> dict:
        """Return the options of the figure that do not follow the data."""
        whole = "x" if self.field == "activation_bits" else ""
        options = dict(xlabel=self.label, ylabel="PSNR / dB", active_tools=[], show_legend=False)
        return figure(self.name, self.title, HEIGHT, whole=whole, **options, **self.options)

    def dots(self, data: Shown, cost: str) -> hv.Points:
        """Draw a dot for each configuration; cost: the field of COSTS that is the dots' "cost"."""
        colors = [METHOD_COLORS.get(method, NEUTRAL) for method in data.dots["method"]]
        values = data.dots | {"color": colors, "cost": data.dots[cost]}
        others = [name for name in values if name not in (self.field, "psnr")]
        dots = hv.Points(values, [self.field, "psnr"], others)
        return dots.opts(color="color", size=8, **tip(TIP))

    def __call__(self, data: Shown, cost: str = "kib") -> hv.Overlay:
        """Draw the whole figure."""
        drawn = self.behind(data, cost) * self.dots(data, cost)
        label = COST_NAMES[cost] if self.field == "cost" else self.label
        limit = dict(xlim=self.ends(data, cost), ylim=limits(data), xlabel=label)
        return drawn.opts(**self.figure() | limit)


def _behind_bits(data: Shown, cost: str) -> hv.Overlay:
    return hv.Overlay([_lines([(method, *line) for method, line in data.by_bits.items()])])


def _bits_ends(data: Shown, cost: str) -> tuple[float, float]:
    bits = data.dots["activation_bits"]
    return min(bits) - 0.4, max(bits) + 0.4


def _behind_sets(data: Shown, cost: str) -> hv.Overlay:
    ends = line_ends(data, *limits(data))
    texts = [f"  {text}" for text in ends["label"]]
    words = hv.Labels((ends["x"], ends["y"], texts, ends["color"]), ["x", "y"], ["label", "color"])
    style = dict(text_color="color", text_font_size="11px", text_align="left")
    return hv.Overlay([_lines([(method, x, y) for method, _, x, y in data.by_set]), words.opts(**style)])


def _sets_ends(data: Shown, cost: str) -> tuple[float, float]:
    """Leave room at the right for the texts."""
    sizes = [size for size in data.dots["set_size"] if size == size] or [10, 1000]
    return min(sizes) / 1.3, max(sizes) * (max(sizes) / min(sizes)) ** 0.45 * 1.5


def _behind_cost(data: Shown, cost: str) -> hv.Overlay:
    """Draw the Pareto front: a step from each best to the next, and a ring around it."""
    front = hv.Curve(data.front[cost], "x", "y").opts(
        interpolation="steps-post", color=ACCENT, line_width=2, alpha=0.8
    )
    rings = hv.Points(data.front[cost], ["x", "y"])
    return front * rings.opts(fill_alpha=0, line_color=ACCENT, line_width=2, size=14)


def _cost_ends(data: Shown, cost: str) -> tuple[float, float]:
    costs = data.dots[cost]
    edge = 0.05 * max(max(costs) - min(costs), 0.05 * max(costs))
    return min(costs) - edge, max(costs) + edge


by_bits = Kind(
    "sweep bits", "PSNR by bits", "activation_bits", "bits of the activations", _behind_bits, _bits_ends, {}
)
by_set = Kind(
    "sweep sets", "PSNR by size of the set", "set_size", "points in the set (log)", _behind_sets, _sets_ends,
    {"logx": True, "xticks": [(size, f"{size:,}") for size in TICKS]},
)  # fmt: skip
by_cost = Kind("sweep cost", "PSNR by cost", "cost", COST_NAMES["kib"], _behind_cost, _cost_ends, {})


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
        **figure("sweep table", f"{value}, mean", TABLE_HEIGHT, show_grid=False),
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
        if groups and end[0] - groups[-1][0][0] < 0.12 * (high - low):
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


def _lines(lines: Sequence[tuple[str, list, list]]) -> hv.Contours:
    """Draw lines in the colours of their methods, each (method, x values, y values)."""
    paths = [{"x": x, "y": y, "color": METHOD_COLORS.get(method, NEUTRAL)} for method, x, y in lines]
    return hv.Contours(paths, ["x", "y"], "color").opts(color=hv.dim("color"), line_width=1.4)
