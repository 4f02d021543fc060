"""The configurations of a sweep: PSNR by bits, by the size of the universal set, and by cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

import holoviews as hv
import panel as pn
from bokeh.events import Tap

from explorer.elements.sweep import COST_NAMES, HEIGHT, MAX_LOSS, Kind, by_bits, by_cost, by_set, limits
from explorer.pipeline.sweep_rows import Shown, enough
from explorer.views.drawn import Drawn, weak_hook
from explorer.views.theme import ACCENT, METHOD_COLORS, NEUTRAL

KINDS = (by_bits, by_set, by_cost)
NEAR = 0.04  # of a figure's width and height: as far beside a dot a tap still means it
WITHIN = 0.1  # dB below the best that nobody sees
# Of a button that is on or off: whether drags on the figures select configurations.
SELECT = f"""
for (const name of {[kind.name for kind in KINDS]})
  for (const tool of cb_obj.document.get_model_by_name(name)?.toolbar.tools ?? [])
    if (tool.type == 'BoxSelectTool') tool.active = cb_obj.active;
"""


class Linked(Drawn):
    """One figure of a sweep, whose selected configurations are those of all figures of a `link`."""

    def __init__(self, kind: Kind, link: hv.link_selections, on_tap: Callable[[Kind, float, float], None]):
        super().__init__(kind, HEIGHT, self._follow)
        self.kind, self._link, self._on_tap = kind, link, on_tap

    def element(self) -> hv.DynamicMap:
        """Return lines and dots; only the dots can be selected."""
        behind = hv.DynamicMap(lambda data: self.kind.behind(*data), streams=[self._pipe])
        dots = hv.DynamicMap(lambda data: self.kind.dots(*data), streams=[self._pipe])
        options = self.kind.figure()
        options["hooks"] = [*options["hooks"], *map(weak_hook, (self._fit, self.keep))]
        return (behind * self._link(dots)).opts(hv.opts.Overlay(**options))

    def _fit(self, plot, element) -> None:
        """Show all data: a hook, since HoloViews asks for fixed limits."""
        data, cost = self._pipe.data
        for ends, axis in (
            (self.kind.ends(data, cost), plot.state.x_range),
            (limits(data), plot.state.y_range),
        ):
            axis.update(start=ends[0], end=ends[1])
        if self.kind.field == "cost":
            plot.state.xaxis.axis_label = COST_NAMES[cost]

    def _follow(self, figure) -> None:
        figure.on_event(Tap, lambda event: self._on_tap(self.kind, event.x, event.y))


class SweepView:
    """Three figures of the same dots; `on_configuration(index)` is called when one is tapped."""

    def __init__(self, on_configuration: Callable[[int], None]):
        self._on_configuration = on_configuration
        self._shown: tuple[Shown, str] | None = None
        self.link = hv.link_selections.instance(
            cross_filter_mode="overwrite", unselected_alpha=0.12, show_regions=False
        )
        self.link.param.watch(lambda _: self._count(), "selection_expr")
        self.figures = [Linked(kind, self.link, self._tapped) for kind in KINDS]
        wide = dict(sizing_mode="stretch_width")
        self.answer = pn.pane.HTML("", css_classes=["text"], margin=0, **wide)
        self.legend = pn.pane.HTML("", css_classes=["text"], margin=0, **wide)
        self.selected = pn.pane.HTML("", css_classes=["text"], margin=0, min_height=20, **wide)
        figures = pn.Column(*(drawn.panel for drawn in self.figures), css_classes=["thirds"], **wide)
        self.panel = pn.Column(self.answer, self.legend, figures, self.selected, css_classes=["card"], **wide)

    def _tapped(self, kind: Kind, x: float | None, y: float | None) -> None:
        if self._shown and x is not None and (index := nearest(kind, *self._shown, x, y)) is not None:
            self._on_configuration(index)

    def show(self, data: Shown, cost: str) -> None:
        """Draw all three; cost: the field of the last one's horizontal axis."""
        if self._shown and self._shown[1] != cost:
            self.select_none()  # what was selected by its cost would now be something else
        self._shown = data, cost
        low, _ = limits(data)
        self.legend.object = _legend(list(data.by_bits), sum(psnr < low for psnr in data.dots["psnr"]))
        self.answer.object = _answer(data)
        for drawn in self.figures:
            sizes = {size for size in data.dots["set_size"] if size == size}
            if drawn.kind is by_set and len(sizes) < 2:
                drawn.clear()  # one column of dots is no answer
            else:
                drawn.show(data, cost)
        self._count()

    def select_none(self) -> None:
        """Show all configurations alike."""
        self.link.selection_expr = None

    def _count(self) -> None:
        """Write how many configurations are selected, and the best of them."""
        text = (
            "Every dot is a configuration: tap one to open it in the tab Explore, or select several by a box."
        )
        if self._shown and self.link.selection_expr is not None:
            data, cost = self._shown
            dots = by_cost.dots(data, cost)
            chosen = self.link.selection_expr.apply(dots)
            found = [index for index, is_chosen in enumerate(chosen) if is_chosen]
            text = f"{len(found)} of {len(chosen)} configurations selected"
            if found:
                best = max(found, key=lambda index: data.dots["psnr"][index])
                label, psnr = data.dots["label"][best], data.dots["psnr"][best]
                text += f"; the best of them: {label}, {psnr:.2f} dB"
        self.selected.object = f"<div class='note'>{escape(text)}</div>"

    def clear(self, sentence: str = "") -> None:
        """Show no configuration, and say why."""
        self._shown = None
        for drawn in self.figures:
            drawn.clear()
        self.legend.object = self.selected.object = ""
        self.answer.object = escape(sentence)


def nearest(kind: Kind, data: Shown, cost: str, x: float, y: float) -> int | None:
    """Find the dot at a place of a figure, by shares of its width and height; None if there is none near."""
    scale = math.log if kind is by_set else float
    (left, right), (low, high) = kind.ends(data, cost), limits(data)
    if not (left < x < right and low < y < high):
        return None
    values = data.dots[cost if kind is by_cost else kind.field]

    def distance(index: int) -> float:
        value = values[index]
        if value != value:  # no set
            return math.inf
        across = (scale(value) - scale(x)) / (scale(right) - scale(left))
        return math.hypot(across, (data.dots["psnr"][index] - y) / (high - low))

    best = min(range(len(values)), key=distance)
    return best if distance(best) < NEAR else None


def _answer(data: Shown) -> str:
    """Write which size of the set is enough, for each method that has several sizes."""
    found = enough(data.by_set, WITHIN)
    if not found:
        return "This sweep has one size of the set: a new sweep with several shows which is enough."
    parts = [
        f"<b>{escape(method)}</b> "
        + ", ".join(f"at {bits} bits <b>{size:,}</b>" for bits, size in sorted(sizes.items()))
        for method, sizes in found.items()
    ]
    return f"Points in the set that come within {WITHIN} dB of the best size: {'; '.join(parts)}."


def _legend(methods: list[str], below: int) -> str:
    marks = " &ensp; ".join(
        f"<span style='white-space:nowrap'><span style='color:{METHOD_COLORS.get(method, NEUTRAL)}'>●</span> "
        f"{escape(method)}</span>"
        for method in methods
    )
    marks += f" &ensp; <span style='color:{ACCENT}'>━</span> Pareto front: the best PSNR at each cost"
    if below:
        marks += f" &ensp; (below the frames, more than {MAX_LOSS:.0f} dB worse: {below})"
    return f"<div class='note'>{marks}</div>"
