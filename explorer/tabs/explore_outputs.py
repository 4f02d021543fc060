"""The outputs of the tab Explore: distributions, mismatch, points and pictures."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
from bokeh.models import Plot

from explorer.choices.state import LARGE, SLIDER, ExplorerState
from explorer.elements import distributions as elements
from explorer.elements.mismatch import mismatch, strip
from explorer.jobs.latest import QUICK
from explorer.jobs.token import Token
from explorer.pipeline import activations, pictures, points
from explorer.pipeline.names import TITLES, titles
from explorer.session import QUANTIZATION, SHOWN, Output, Show, Work
from explorer.tabs.points_by_hand import ByHand
from explorer.views.drawn import Drawn, part, tapped
from explorer.views.images import ImagesView
from explorer.views.points import PointsView

WAIT_FOR_POINTS = 0.25  # seconds that pictures wait for points, which take less time
BY_HAND = ("hand", "hand_layer")
HEAT_HEIGHT, STRIP_HEIGHT = 204, 34  # pixels


class Distributions(Output):
    """Heat map of the layer's input, and in the details its channels' spread and one channel by image."""

    name, follows, pool = "distributions", ("network", "layer", "channel", "calibration", "details"), QUICK

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self._found: activations.Distribution | None = None
        self._drawn: activations.Distribution | None = None
        self.heat = Drawn(_heat_map, HEAT_HEIGHT, tapped(lambda x, y: self._choose(round(y))))
        self.spread = Drawn(elements.spread, elements.HEIGHT, tapped(self._choose_by_spread))
        self.by_image = Drawn(elements.by_image, elements.HEIGHT)

    def _choose(self, channel: int) -> None:
        self.state.channel = min(max(channel, 0), self.state.param.channel.bounds[1])

    def _choose_by_spread(self, x: float, y: float) -> None:
        order = elements.by_spread(self._found)
        self._choose(int(order[min(max(round(x), 0), len(order) - 1)]))

    def work(self) -> Work:
        """Show the distribution of the layer, with the details that are open."""
        state, shown = self.state, [self._show_heat]
        name, layer, channel, own = state.network, state.layer, state.channel, tuple(state.calibration)
        shown += [self.spread.show] if state.is_open("spread") else []
        shown += [self.by_image.show] if state.is_open("by image") else []

        def work(token):
            self._found = found = activations.distribution(name, layer, own, token=token)
            for show in shown:
                yield partial(show, found, min(channel, len(found.counts) - 1))

        return work

    def _show_heat(self, found: activations.Distribution, channel: int) -> None:
        """Draw the heat map; of the distribution that it shows already, only the frame moves."""
        if found is self._drawn and self.heat.figure is not None:
            self.heat.move(partial(_move_frame, channel), found, channel)
        else:
            self._drawn = found
            self.heat.show(found, channel)

    def wait(self) -> None:
        """Dim the heat map."""
        self.heat.wait()


def _heat_map(data: activations.Distribution, channel: int):
    return elements.heat_map(data, channel).opts(title="", height=HEAT_HEIGHT, xticks=5)


def _move_frame(channel: int, figure: Plot) -> None:
    part(figure, elements.FRAME).data = {"edge": elements.frame_of(channel)}


class Mismatch(Output):
    """The layers by how much their channels differ; in the details, the mismatch across images too."""

    name, follows = "mismatch", ("network", "layer", "calibration", "details")

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self._layers: list[str] = []
        self.strip = Drawn(strip, STRIP_HEIGHT, tapped(self._choose))
        self.details = {
            kind: Drawn(partial(_mismatch, kind), 230, tapped(self._choose)) for kind in ("mean", "deviation")
        }

    def _choose(self, x: float, y: float) -> None:
        self.state.layer = self._layers[min(max(round(x) - 1, 0), len(self._layers) - 1)]

    def work(self) -> Work:
        """Show the mismatch of every layer."""
        name, layer, opened = self.state.network, self.state.layer, self.state.is_open("mismatch")
        own = tuple(self.state.calibration)

        def work(token):
            found = activations.mismatch(name, own, token=token)
            self._layers = list(found)
            for drawn in (self.strip, *(self.details.values() if opened else ())):
                yield partial(drawn.show, found, layer)

        return work


def _mismatch(kind: str, found, layer: str):
    return mismatch(found, kind, layer)


class Points(Output):
    """The points of a channel, and the errors of the selectors."""

    name, pool = "points", QUICK
    follows = ("network", "layer", "channel", *QUANTIZATION, *BY_HAND, "weight_bits", "layer_bits")

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
            asked = (*where, configs(bits).for_layer(where[1]), *hand)
            yield partial(show, points.points(*asked, False, own, token=token))
            yield partial(self.view.show_errors, points.points(*asked, True, own, token=token))

        return work

    def wait(self) -> None:
        """Dim the points."""
        self.view.wait()

    def clear(self) -> None:
        """Show no points."""
        self.view.clear()

    def done(self) -> None:
        """Let the pictures start."""
        self.shown.set()


class Pictures(Output):
    """The picture at several bit-widths with its differences, and two of them compared."""

    name = "images"
    follows = (
        *(*SHOWN, *QUANTIZATION, *BY_HAND),
        *("weight_bits", "layer_bits", "float_layers", "compared_bits", "references", "below"),
        *("left", "right", "details"),
    )

    def __init__(self, state: ExplorerState, points_shown: threading.Event):
        super().__init__(state)
        self.view, self._points_shown = ImagesView(self.enlarge), points_shown

    def enlarge(self, key: str | int) -> None:
        """Show a tapped picture large, beside the float network's."""
        state = self.state
        state.left = SLIDER if key == state.activation_bits else str(key)
        state.right = "float" if state.left != "float" else pictures.reference(state.image)
        state.open(LARGE)

    def work(self) -> Work:
        """Show the pictures one after the other, the sliders' first, then the comparison."""
        state = self.state
        asked, tiles, names = pictures.requests(state), pictures.tiles(state), titles(state)
        current, large = state.activation_bits, state.is_open(LARGE)
        sides = [state.picture_key("left"), state.picture_key("right")] if large else []
        # The float network's and the truth, for the scores; then what the sliders ask for; then the rest.
        order = sorted(asked, key=lambda key: (key not in TITLES, key not in (current, *sides)))
        below = pictures.reference(state.image) if state.below == "hr" else state.below

        def work(token):
            self._points_shown.wait(WAIT_FOR_POINTS)
            new = {key for key, request in asked.items() if _is_new(request)}
            shown_names = {key: names[key] for key in tiles}
            yield partial(self.view.arrange, shown_names, current, new & {*tiles}, bool(below))
            shown: dict[str | int, pictures.Picture] = {}
            for done, key in enumerate(order):
                token.progress("Super-resolving", done / len(order))
                try:
                    shown[key] = _picture(asked[key], token)
                except ValueError as error:
                    if key in tiles:
                        yield partial(self.view.say, key, str(error))
                    continue
                if key in tiles:
                    yield self._tile(key, shown, below)
            yield self._comparison(shown, sides)

        return work

    def _tile(self, key: str | int, shown: dict[str | int, pictures.Picture], below: str) -> Show:
        picture, best = shown[key], shown.get("float")
        difference = _difference(shown, below, key) if below else None

        def show() -> None:
            self.view.show(key, picture, best)
            if below:
                self.view.show_difference(key, difference)

        return show

    def _comparison(self, shown: dict[str | int, pictures.Picture], sides: list) -> Show:
        if not sides or not all(side in shown for side in sides):
            return self.view.clear_comparison
        left, right = (shown[side] for side in sides)
        return partial(self.view.compare, left, right, pictures.difference(left, right))


def _difference(shown: dict[str | int, pictures.Picture], best: str, key: str | int) -> np.ndarray | None:
    """Compute by how much a picture differs from the `best`; None for that one itself."""
    return None if key == best or best not in shown else pictures.difference(shown[key], shown[best])


def _is_new(request: pictures.PictureRequest | str) -> bool:
    """Tell whether the picture is still to be computed."""
    return not isinstance(request, str) and not pictures.picture.known(*request)


def _picture(request: pictures.PictureRequest | str, token: Token) -> pictures.Picture:
    if isinstance(request, str):
        raise ValueError(request)
    return pictures.picture(*request, token=token)
