"""A HoloViews element that follows its data in place."""

from __future__ import annotations

from collections.abc import Callable

import holoviews as hv
import panel as pn
from bokeh.events import Tap
from holoviews.streams import Pipe


class Live:
    """A pane for the element that `draw(*data)` makes; drawn at the first `show`, and then changed in place.

    `on_tap(x, y)` is called with the place that a person taps, in the figure's own coordinates.
    """

    def __init__(
        self,
        draw: Callable[..., hv.Element | hv.Overlay],
        height: int,
        on_tap: Callable[[float, float], None] | None = None,
    ):
        self._draw, self._on_tap = draw, on_tap
        self._pipe: Pipe | None = None
        self._heard: object = None  # the figure whose taps are listened to
        self.panel = pn.pane.HoloViews(
            None, sizing_mode="stretch_width", height=height, margin=0, css_classes=["figure", "empty"]
        )

    @property
    def shown(self) -> tuple | None:
        """What is shown now: the arguments of `draw`; None if nothing is."""
        return None if self._pipe is None else self._pipe.data

    def show(self, *data) -> None:
        """Draw `data`, the arguments of `draw`."""
        if self._pipe is None:
            self._pipe = Pipe(data=data)
            drawn = hv.DynamicMap(lambda data: self._element(*data), streams=[self._pipe])
            self.panel.param.update(object=drawn, css_classes=["figure"])
        elif any(new is not old for new, old in zip(data, self._pipe.data, strict=True)):
            self._pipe.send(data)

    def wait(self, waiting: bool) -> None:
        """Dim what is shown, if that lasts: it is computed anew."""
        if self._pipe is not None:
            self.panel.css_classes = ["figure", "waiting"] if waiting else ["figure"]

    def _element(self, *data) -> hv.Element | hv.Overlay:
        element = self._draw(*data)
        if self._on_tap is None:
            return element
        # Streams for taps do not hear those on an overlay.
        hooks = hv.Store.lookup_options("bokeh", element, "plot").kwargs.get("hooks", [])
        return element.opts(hooks=[*hooks, self._listen])

    def _listen(self, plot, element) -> None:
        if plot.state is not self._heard:
            self._heard = plot.state
            plot.state.on_event(Tap, self._tapped)

    def _tapped(self, event: Tap) -> None:
        if event.x is not None and event.y is not None:
            self._on_tap(event.x, event.y)
