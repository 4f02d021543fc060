"""A figure that HoloViews draws once its data are there; what changes later changes that same figure."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import holoviews as hv
import panel as pn
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, GlyphRenderer, Plot, Range1d
from holoviews.streams import Pipe

import explorer.elements.theme  # noqa: F401 (chooses the backend)
from explorer.views.theme import DIMMED, SHOWN


class Drawn:
    """A place for what `draw(*data)` makes of data; `once(figure)` is called when Bokeh's figure is made.

    `draw` must make overlays of the same parts from all data, since Bokeh's figure stays.
    """

    def __init__(
        self,
        draw: Callable[..., hv.Element | hv.Overlay],
        height: int,
        once: Callable[[Plot], None] = lambda figure: None,
    ):
        self.figure: Plot | None = None
        self._draw, self._once = draw, once
        self._pipe = Pipe(data=())
        self._limits: dict[str, tuple[float, float] | None] = {}
        self.panel = pn.Column(min_height=height, sizing_mode="stretch_width", margin=0)

    def element(self) -> hv.DynamicMap:
        """Return what draws the data, and draws anew when others come."""
        return hv.DynamicMap(self._drawn, streams=[self._pipe])

    def _drawn(self, data: tuple) -> hv.Element | hv.Overlay:
        element = self._draw(*data)
        options = element.opts.get("plot").kwargs
        hooks, self._limits = options.get("hooks", []), {axis: options.get(f"{axis}lim") for axis in "xy"}
        return element.opts(hooks=[*hooks, weak_hook(self.keep)])

    def keep(self, plot, element) -> None:
        """Keep Bokeh's figure, for what changes in place: a hook of HoloViews."""
        if plot.state is not self.figure:
            self.figure = plot.state
            self._once(self.figure)
        else:
            self._follow_limits()

    def _follow_limits(self) -> None:
        """Give the axes the limits of what is drawn now: HoloViews leaves those of overlays as they were."""
        for axis, limits in self._limits.items():
            shown = getattr(self.figure, f"{axis}_range")
            if limits is not None and isinstance(shown, Range1d):
                shown.update(start=limits[0], end=limits[1])

    def show(self, *data) -> None:
        """Draw these data."""
        if self.panel.objects:
            self._pipe.send(data)
        else:
            self._pipe.update(data=data)
            self.panel.objects = [pn.pane.HoloViews(self.element(), sizing_mode="stretch_width", margin=0)]
        self.panel.styles = SHOWN

    def move(self, change: Callable[[Plot], None], *data) -> None:
        """Bring the figure to these data by a change in place, which costs a hundredth of drawing anew."""
        self._pipe.update(data=data)  # for whoever draws the figure next
        if self.figure is not None:
            change(self.figure)
        self.panel.styles = SHOWN

    def wait(self) -> None:
        """Dim the figure, which may be old, if that lasts."""
        self.panel.styles = DIMMED

    def clear(self) -> None:
        """Show nothing: an empty figure looks like a result."""
        self.panel.objects, self.figure = [], None


def part(figure: Plot, name: str) -> ColumnDataSource:
    """Return what the element of an overlay draws to which `named_part` gave that name."""
    return figure.select_one({"name": name, "type": GlyphRenderer}).data_source


def tapped(call: Callable[[float, float], None]) -> Callable[[Plot], None]:
    """Return an `once` by which `call(x, y)` is called with the place that a person taps."""

    def once(figure: Plot) -> None:
        figure.on_event(Tap, lambda event: event.x is not None and call(event.x, event.y))

    return once


def weak_hook(method: Callable) -> Callable:
    """Return a hook that calls a method, but does not keep its object: HoloViews keeps options for good."""
    reference = weakref.WeakMethod(method)

    def hook(plot, element) -> None:
        if (call := reference()) is not None:
            call(plot, element)

    return hook
