"""The chosen layer's activations: channels × values, the channels' spread, one channel across images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from bokeh.events import Tap
from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LogColorMapper, Span

from explorer.pipeline.activations import Distribution
from explorer.views.theme import ACCENT, NEUTRAL, PALETTE, columns, pane, plot

HEIGHT = 280


class DistributionsView:
    """Three linked figures; `on_channel(channel)` is called when a person taps one."""

    def __init__(self, on_channel: Callable[[int], None]):
        self._data: Distribution | None = None
        self._order = np.empty(0, int)
        self._on_channel = on_channel
        self._heat = ColumnDataSource(dict(image=[], x=[], y=[], dw=[], dh=[]))
        self._spread = ColumnDataSource(dict(rank=[], channel=[], low=[], middle=[], high=[], color=[]))
        self._images = ColumnDataSource(dict(image=[], low=[], mean=[], high=[]))
        self._mapper = LogColorMapper(PALETTE, low=1, high=10, low_color="rgba(0,0,0,0)")
        self._row = [Span(dimension="width", line_color=ACCENT, line_width=1, location=-9) for _ in range(2)]
        self.figures = [self._heat_map(), self._spread_plot(), self._image_plot()]
        self.panel = columns("minmax(0, 1.5fr) minmax(0, 1fr) minmax(0, 1fr)", *map(pane, self.figures))

    def _heat_map(self):
        fig = plot("All channels", "activation", "channel", HEIGHT, "y", name="heat map")
        fig.image(image="image", x="x", y="y", dw="dw", dh="dh", source=self._heat, color_mapper=self._mapper)
        bar = ColorBar(color_mapper=self._mapper, width=8, padding=2, title="count", border_line_color=None)
        bar.background_fill_alpha = 0
        fig.add_layout(bar, "right")
        for line in self._row:
            fig.add_layout(line)
        fig.xgrid.visible = fig.ygrid.visible = False
        fig.on_event(Tap, lambda event: self._tapped(event.y))
        return fig

    def _spread_plot(self):
        fig = plot(
            "Channels by spread", "rank of the channel", "max |x| per image", HEIGHT, "x", name="spread"
        )
        fig.segment("rank", "low", "rank", "high", source=self._spread, color=NEUTRAL, line_width=2)
        dots = fig.scatter("rank", "middle", source=self._spread, size=7, color="color")
        fig.add_tools(
            HoverTool(
                renderers=[dots],
                tooltips="channel @channel: median @middle{0.[000]}, "
                "10–90 % of images @low{0.[000]}–@high{0.[000]}",
            )
        )
        fig.on_event(Tap, lambda event: self._tapped_rank(event.x))
        return fig

    def _image_plot(self):
        fig = plot("", "calibration image", "min, mean, max", HEIGHT, "x", name="by image")
        fig.segment("image", "low", "image", "high", source=self._images, color=NEUTRAL, line_width=3)
        fig.scatter("image", "mean", source=self._images, size=5, color=ACCENT)
        return fig

    def _tapped(self, y: float | None) -> None:
        if self._data is not None and y is not None:
            self._on_channel(int(np.clip(round(y), 0, len(self._data.counts) - 1)))

    def _tapped_rank(self, x: float | None) -> None:
        if self._data is not None and x is not None:
            self._on_channel(int(self._order[int(np.clip(round(x), 0, len(self._order) - 1))]))

    def show(self, data: Distribution, channel: int) -> None:
        """Draw a layer; a channel beyond its last shows the last."""
        if data is not self._data:
            self._show_layer(data)
        channel = min(channel, len(data.counts) - 1)
        colors = np.where(self._order == channel, ACCENT, NEUTRAL)
        self._spread.patch({"color": [(slice(None), list(colors))]})
        for line, edge in zip(self._row, (-0.5, 0.5), strict=True):
            line.location = channel + edge
        self._images.data = dict(
            image=np.arange(data.low.shape[1]),
            low=data.low[channel],
            mean=data.mean[channel],
            high=data.high[channel],
        )
        fig = self.figures[2]
        fig.title.text = f"Channel {channel} by image"
        _fit(fig.y_range, data.low[channel].min(), data.high[channel].max())

    def _show_layer(self, data: Distribution) -> None:
        self._data = data
        n_channels, left, right = len(data.counts), data.edges[0], data.edges[-1]
        heat, spread, images = self.figures
        heat.title.text = f"{data.layer} ({'post-ReLU' if data.post_relu else 'signed'})"
        self._mapper.high = max(10, int(data.counts.max()))
        self._heat.data = dict(
            image=[data.counts.astype(np.float32)], x=[left], y=[-0.5], dw=[right - left], dh=[n_channels]
        )
        heat.x_range.update(start=left, end=right)
        heat.y_range.update(start=-0.5, end=n_channels - 0.5)
        low, middle, high = data.spread.T
        self._order = np.argsort(-middle, kind="stable")
        self._spread.data = dict(
            rank=np.arange(n_channels),
            channel=self._order,
            low=low[self._order],
            middle=middle[self._order],
            high=high[self._order],
            color=[NEUTRAL] * n_channels,
        )
        spread.yaxis.axis_label = "max |x| per image" if data.post_relu else "max |x − mean| per image"
        spread.x_range.update(start=-1, end=n_channels)
        spread.y_range.update(start=0, end=1.05 * max(float(high.max()), 1e-9))
        images.x_range.update(start=-1, end=data.low.shape[1])


def _fit(axis, low: float, high: float) -> None:
    margin = 0.05 * max(high - low, 1e-9)
    axis.update(start=float(low - margin), end=float(high + margin))
