"""The tab Explore: what a layer receives, where the points lie, and what the picture looks like."""

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
from explorer.tabs.export_section import taking
from explorer.tabs.points_by_hand import ByHand, by_hand
from explorer.tabs.tab import Tab
from explorer.views.distributions import DistributionsView
from explorer.views.images import ImagesView
from explorer.views.mismatch import MismatchView
from explorer.views.points import PointsView
from explorer.views.theme import DIFFERENCE_SCALE, columns

WAIT_FOR_POINTS = 0.25  # seconds that pictures give way to points, which take less
BY_HAND = ("hand", "hand_layer")


class Distributions(Output):
    """Heat map and spreads of what the layer receives."""

    name, follows, pool = "distributions", ("network", "layer", "channel"), QUICK

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = DistributionsView(lambda channel: state.param.update(channel=channel))

    def work(self) -> Work:
        name, layer, channel = self.state.network, self.state.layer, self.state.channel

        def work(token):
            yield partial(self.view.show, activations.distribution(name, layer, token=token), channel)

        return work


class Mismatch(Output):
    """How far channels and images differ, by layer."""

    name, follows = "mismatch", ("network", "layer")

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = MismatchView(lambda layer: state.param.update(layer=layer))

    def work(self) -> Work:
        name, layer = self.state.network, self.state.layer

        def work(token):
            yield partial(self.view.show, activations.mismatch(name, token=token), layer)

        return work


class Points(Output):
    """Where the points lie, and then what each selector's choice costs."""

    name, follows, pool = "points", ("network", "layer", "channel", *QUANTIZATION, *BY_HAND), QUICK

    def __init__(self, state: ExplorerState, by_hand: ByHand):
        super().__init__(state)
        self.view = PointsView(by_hand.place)
        self.shown = threading.Event()  # those asked for last are

    def work(self) -> Work:
        state = self.state
        where = (state.network, state.layer, state.channel)
        configs, bits, hand = state.configs(), state.activation_bits, (state.by_hand(), state.hand_layer)
        self.shown.clear()

        def show(found: points.Points) -> None:
            self.view.show(found)
            self.shown.set()

        def work(token):
            asked = (*where, configs(bits), *hand)
            yield partial(show, points.points(*asked, False, token=token))
            yield partial(self.view.show_errors, points.points(*asked, token=token))

        return work

    def clear(self) -> None:
        self.view.clear()

    def done(self) -> None:
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
    """Whether its picture is still to be computed."""
    return not isinstance(request, str) and not pictures.picture.known(*request)


def _picture(request: pictures.PictureRequest | str, token: Token) -> pictures.Picture:
    if isinstance(request, str):
        raise ValueError(request)
    return pictures.picture(*request, token=token)


class ExploreTab(Tab):
    """Distributions, points and images of one network."""

    key = EXPLORE

    def make(self) -> Sequence[Output]:
        state = self.state
        self.by_hand = ByHand(state, lambda sentence: self.session.complain("by hand", sentence))
        self.distributions, self.mismatch = Distributions(state), Mismatch(state)
        self.points = Points(state, self.by_hand)
        self.pictures = Pictures(state, self.points.shown)
        return self.distributions, self.points, self.pictures, self.mismatch

    def layout(self) -> pn.Column:
        p, images = self.state.param, self.pictures.view
        self.points.view.main.append(by_hand(self.state, self.by_hand))

        def note(*_) -> str:
            return f"<p class='note'>{escape(protocol(self.state))}</p>"

        return pn.Column(
            section(
                "Distributions",
                "What the layer receives in the float network. The more its channels and images differ in "
                "spread, the harder it is to quantize. Tap a channel.",
                self.distributions.view.panel,
                self.mismatch.view.panel,
            ),
            section(
                "Points",
                "Where the quantization points lie among the channel's activations, and what each selector's "
                "choice costs.",
                self.points.view.panel,
            ),
            section(
                "Images",
                "The same picture from the float and the quantized networks. Drag and scroll: all zoom at "
                "once.",
                images.grid,
                self._compare(),
                html(
                    pn.bind(note, p.network, p.image, p.region, p.method, p.selector),
                    sizing_mode="stretch_width",
                ),
            ),
            taking(self.session),
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
