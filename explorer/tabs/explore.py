"""The tab Explore: a layer's distribution, its points, and the picture."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from html import escape

import panel as pn

from explorer.choices.state import EXPLORE, ExplorerState
from explorer.jobs.latest import QUICK
from explorer.jobs.token import Token
from explorer.page.sections import html, section
from explorer.pipeline import activations, pictures, points
from explorer.pipeline.names import TITLES, titles
from explorer.pipeline.protocol import protocol
from explorer.session import QUANTIZATION, SHOWN, Output, Work
from explorer.tabs.export_section import export_section
from explorer.tabs.points_by_hand import ByHand, by_hand
from explorer.tabs.tab import Tab
from explorer.views.distributions import DistributionsView
from explorer.views.images import ImagesView
from explorer.views.mismatch import MismatchView
from explorer.views.points import PointsView
from explorer.views.theme import DIFFERENCE_SCALE, columns

WAIT_FOR_POINTS = 0.25  # seconds that pictures wait for points, which take less time
BY_HAND = ("hand", "hand_layer")


class Distributions(Output):
    """Heat map and spreads of the layer's input."""

    name, follows, pool = "distributions", ("network", "layer", "channel", "calibration"), QUICK

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = DistributionsView(lambda channel: state.param.update(channel=channel))

    def work(self) -> Work:
        """Show the distribution of the layer."""
        name, layer, channel = self.state.network, self.state.layer, self.state.channel
        own = tuple(self.state.calibration)

        def work(token):
            yield partial(self.view.show, activations.distribution(name, layer, own, token=token), channel)

        return work


class Mismatch(Output):
    """The mismatch of channels and of images, by layer."""

    name, follows = "mismatch", ("network", "layer", "calibration")

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = MismatchView(lambda layer: state.param.update(layer=layer))

    def work(self) -> Work:
        """Show the mismatch of every layer."""
        name, layer, own = self.state.network, self.state.layer, tuple(self.state.calibration)

        def work(token):
            yield partial(self.view.show, activations.mismatch(name, own, token=token), layer)

        return work


class Points(Output):
    """The points of a channel, and the errors of the selectors."""

    name, follows, pool = "points", ("network", "layer", "channel", *QUANTIZATION, *BY_HAND), QUICK

    def __init__(self, state: ExplorerState, by_hand: ByHand):
        super().__init__(state)
        self.view = PointsView(by_hand.place)
        self.shown = threading.Event()  # set while the latest points are shown

    def work(self) -> Work:
        """Show the points, then the errors of the selectors."""
        state = self.state
        where = (state.network, state.layer, state.channel)
        configs, bits, hand = state.configs(), state.activation_bits, (state.by_hand(), state.hand_layer)
        own = tuple(state.calibration)
        self.shown.clear()

        def show(found: points.Points) -> None:
            self.view.show(found)
            self.shown.set()

        def work(token):
            asked = (*where, configs(bits), *hand)
            yield partial(show, points.points(*asked, False, own, token=token))
            yield partial(self.view.show_errors, points.points(*asked, True, own, token=token))

        return work

    def clear(self) -> None:
        """Show no points."""
        self.view.clear()

    def done(self) -> None:
        """Let the pictures start."""
        self.shown.set()


class Pictures(Output):
    """The picture at several bit-widths, and two of them compared."""

    name = "images"
    follows = (
        *SHOWN,
        *QUANTIZATION,
        "weight_bits",
        "compared_bits",
        "float_layers",
        "left",
        "right",
        *BY_HAND,
    )

    def __init__(self, state: ExplorerState, points_shown: threading.Event):
        super().__init__(state)
        self.view, self._points_shown = ImagesView(), points_shown

    def work(self) -> Work:
        """Show the pictures one after the other, and compare two of them."""
        state, view, asked = self.state, self.view, pictures.requests(self.state)
        names, current = titles(state), state.activation_bits
        sides = state.picture_key("left"), state.picture_key("right")
        # What the sliders ask for comes first, then the comparison, then the rest.
        order = sorted(asked, key=lambda key: key not in (*TITLES, current, *sides))

        def work(token):
            self._points_shown.wait(WAIT_FOR_POINTS)
            new = {key for key, request in asked.items() if _is_new(request)}
            yield partial(view.arrange, {key: names[key] for key in asked}, current, new)
            shown = {}
            for done, key in enumerate(order):
                token.progress("Super-resolving", done / len(order))
                try:
                    shown[key] = _picture(asked[key], token)
                except ValueError as error:
                    yield partial(view.say, key, str(error))
                    continue
                yield partial(view.show, key, shown[key])
                if key in sides and all(side in shown for side in sides):
                    pair = [shown[side] for side in sides]
                    yield partial(view.compare, *pair, pictures.difference(*pair))
            if not all(side in shown for side in sides):
                yield view.clear_comparison

        return work


def _is_new(request: pictures.PictureRequest | str) -> bool:
    """Tell whether the picture is still to be computed."""
    return not isinstance(request, str) and not pictures.picture.known(*request)


def _picture(request: pictures.PictureRequest | str, token: Token) -> pictures.Picture:
    if isinstance(request, str):
        raise ValueError(request)
    return pictures.picture(*request, token=token)


class ExploreTab(Tab):
    """Distributions, points and images of one network."""

    key = EXPLORE

    def make(self) -> Sequence[Output]:
        """Make the outputs, and the points by hand."""
        state = self.state
        self.by_hand = ByHand(state, lambda sentence: self.session.complain("by hand", sentence))
        self.distributions, self.mismatch = Distributions(state), Mismatch(state)
        self.points = Points(state, self.by_hand)
        self.pictures = Pictures(state, self.points.shown)
        return self.distributions, self.points, self.pictures, self.mismatch

    def layout(self) -> pn.Column:
        """Return the four sections."""
        p, images = self.state.param, self.pictures.view
        self.points.view.main.append(by_hand(self.state, self.by_hand))

        def note(*_) -> str:
            return f"<p class='note'>{escape(protocol(self.state))}</p>"

        return pn.Column(
            section(
                "Distributions",
                "The input of the layer in the float network. The more its channels and images differ in "
                "spread, the harder it is to quantize. Tap a channel.",
                self.distributions.view.panel,
                self.mismatch.view.panel,
            ),
            section(
                "Points",
                "Where the quantization points lie among the channel's activations, and the error of each "
                "selector's choice.",
                self.points.view.panel,
            ),
            section(
                "Images",
                "The same picture from the float and the quantized networks. Drag and scroll: all zoom at "
                "once.",
                images.grid,
                self._compare(),
                html(
                    pn.bind(note, p.network, p.image, p.region, p.method, p.selector, p.calibration),
                    sizing_mode="stretch_width",
                ),
            ),
            export_section(self.session),
            sizing_mode="stretch_width",
            margin=0,
        )

    def _compare(self) -> pn.Column:
        p, images = self.state.param, self.pictures.view
        reset = pn.widgets.Button(label="Reset zoom", margin=(18, 8, 0, 8))
        reset.on_click(lambda _: images.window.reset())
        side = dict(width=118, margin=(0, 8))
        return columns(
            "minmax(0, 1fr) minmax(0, 1fr)",
            pn.Column(
                pn.FlexBox(
                    pn.widgets.Select.from_param(p.left, label="Left", **side),
                    pn.widgets.Select.from_param(p.right, label="Right", **side),
                    images.divider,
                    reset,
                    margin=0,
                    min_height=60,
                ),
                images.swipe,
                sizing_mode="stretch_width",
                margin=0,
            ),
            pn.Column(
                html(
                    "<label>Difference of left and right, mean |RGB| in 8-bit levels</label>"
                    + DIFFERENCE_SCALE,
                    height=60,
                    margin=(0, 8),
                ),
                images.difference.panel,
                sizing_mode="stretch_width",
                margin=0,
            ),
        )
