"""A layer's activations as elements: channels × values, the channels' spread, one channel by image."""

from __future__ import annotations

import holoviews as hv
import numpy as np

from explorer.elements.colors import ACCENT, NEUTRAL, PALETTE
from explorer.elements.theme import COLOR_BAR, figure, named_part, room, tip
from explorer.pipeline.activations import Distribution

HEIGHT = 280
FRAME = "chosen channel"  # what moves in place when another one is chosen


def heat_map(data: Distribution, channel: int) -> hv.Overlay:
    """Draw how often each value occurs in each channel, and frame the chosen one."""
    n_channels, counts = len(data.counts), data.counts.astype(np.float32)
    bounds = (float(data.edges[0]), -0.5, float(data.edges[-1]), n_channels - 0.5)
    axes = [("value", "activation"), ("channel", "channel")]
    image = hv.Image(counts[::-1], axes, ("count", "count"), bounds=bounds).opts(
        cmap=PALETTE,
        cnorm="log",
        clim=(1, max(10, int(counts.max()))),
        clipping_colors={"min": "rgba(0,0,0,0)"},
        colorbar=True,
        clabel="count",
        colorbar_opts=COLOR_BAR,
    )
    edges = hv.HLines(frame_of(channel), "edge").opts(color=ACCENT, line_width=1, hooks=[named_part(FRAME)])
    title = f"{data.layer} ({'post-ReLU' if data.post_relu else 'signed'})"
    return (image * edges).opts(**figure("heat map", title, HEIGHT, whole="y", show_grid=False))


def frame_of(channel: int) -> list[float]:
    """Return where the lines of the frame lie around a channel of the heat map."""
    return [channel - 0.5, channel + 0.5]


def by_spread(data: Distribution) -> np.ndarray:
    """Return the channels (C,) from the widest to the narrowest."""
    return np.argsort(-data.spread[:, 1], kind="stable")


def spread(data: Distribution, channel: int) -> hv.Overlay:
    """Draw each channel's largest magnitude over the images, from the widest channel to the narrowest."""
    order = by_spread(data)
    low, middle, high = data.spread[order].T
    rank, color = np.arange(len(order)), np.where(order == channel, ACCENT, NEUTRAL)
    label = "max |x| per image" if data.post_relu else "max |x − mean| per image"
    axes = [("rank", "rank of the channel"), ("middle", label)]
    reach = hv.Segments((rank, low, rank, high), ["rank", "low", "rank_end", "high"])
    dots = hv.Points((rank, middle, order, low, high, color), axes, ["channel", "low", "high", "color"])
    text = "channel @channel: median @middle{0.[000]}, 10–90 % of images @low{0.[000]}–@high{0.[000]}"
    drawn = reach.opts(color=NEUTRAL, line_width=2) * dots.opts(color="color", size=7, **tip(text))
    top = 1.05 * max(float(high.max()), 1e-9)
    return drawn.opts(
        **figure("spread", "Channels by spread", HEIGHT, whole="x"),
        xlim=(-1, len(order)), ylim=(0, top), xlabel=axes[0][1], ylabel=label,
    )  # fmt: skip


def by_image(data: Distribution, channel: int) -> hv.Overlay:
    """Draw the lowest, mean and highest value of a channel in each calibration image."""
    low, mean, high = (values[channel] for values in (data.low, data.mean, data.high))
    image = np.arange(len(mean))
    reach = hv.Segments((image, low, image, high), ["image", "low", "image_end", "high"])
    dots = hv.Scatter((image, mean), "image", "mean")
    drawn = reach.opts(color=NEUTRAL, line_width=3) * dots.opts(color=ACCENT, size=5)
    return drawn.opts(
        **figure("by image", f"Channel {channel} by image", HEIGHT, whole="x"),
        xlim=(-1, len(image)), ylim=room(low.min(), high.max()),
        xlabel="calibration image", ylabel="activation: min, mean, max",
    )  # fmt: skip
