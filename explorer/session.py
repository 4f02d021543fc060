"""One visitor: the choices, the outputs that follow them, and their jobs."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable

import panel as pn

from explorer.choices import catalog
from explorer.choices.state import (
    DEPLOYMENT,
    EXPLORE,
    LAYERS,
    METHODS_TAB,
    SWEEP,
    TRAINING,
    WHOLE,
    ExplorerState,
)
from explorer.choices.status import Status
from explorer.choices.uploads import Uploads
from explorer.jobs.latest import QUICK, SLOW, LatestWins
from explorer.jobs.token import Cancelled, Token
from explorer.pipeline import activations, pictures, points, regions
from explorer.pipeline.names import TITLES
from explorer.server.document_queue import Turns
from explorer.tabs import explore, studies
from explorer.tabs.points_by_hand import ByHand
from explorer.tabs.sweep import Sweeper
from explorer.tabs.trainer import Trainer
from explorer.views.deployment import DeploymentView
from explorer.views.distributions import DistributionsView
from explorer.views.images import ImagesView
from explorer.views.layers import LayersView
from explorer.views.methods import MethodsView
from explorer.views.mismatch import MismatchView
from explorer.views.points import PointsView
from explorer.views.region_map import PlaceView

QUANTIZATION = ("activation_bits", "method", "words", "terms", "selector")
QUICKER = ("distributions", "points", "place", "sweep", "sweep ahead")
SLOWER = ("images", "mismatch", "methods", "int8", "training", "layers")
POOLS = dict.fromkeys(QUICKER, QUICK) | dict.fromkeys(SLOWER, SLOW)
BY_HAND = ("hand", "hand_layer")
SHOWN = ("network", "image", "region")
# Output -> the tab it is on, and the choices it depends on.
DEPENDS = {
    "distributions": (EXPLORE, ("network", "layer", "channel")),
    "points": (EXPLORE, ("network", "layer", "channel", *QUANTIZATION, *BY_HAND)),
    "images": (
        EXPLORE,
        (*SHOWN, *QUANTIZATION, "weight_bits", "compared_bits", "float_layers", "left", "right", *BY_HAND),
    ),
    "mismatch": (EXPLORE, ("network", "layer")),
    "methods": (
        METHODS_TAB,
        (*SHOWN, *QUANTIZATION, "methods", "weight_bits", "float_layers", "box", "spot", "direction"),
    ),
    "int8": (DEPLOYMENT, (*SHOWN, "strategy", "representatives", "float_layers")),
    "layers": (LAYERS, (*SHOWN, *QUANTIZATION, "weight_bits", "float_layers")),
}
UPDATES = explore.UPDATES | studies.UPDATES


class Session:
    """Binds state to views: a choice starts the jobs of the outputs that depend on it."""

    def __init__(self, state: ExplorerState):
        self.state, self.status = state, Status()
        self._on_document = Turns()
        self.points_done = threading.Event()  # those asked for last are shown
        self._runners = {output: LatestWins(self._on_document, pool) for output, pool in POOLS.items()}
        self.uploads = Uploads(state, self.status, self._on_document)
        self._asked: dict[str, str] = {}  # output -> the choices it was last asked for
        self.status.busy = {"page": ("", 0.0)}
        for output, (_, choices) in DEPENDS.items():
            update = functools.partial(self._update, output)
            self.state.param.watch(lambda *_, update=update: update(), ["tab", *choices])
        self.state.param.watch(lambda *_: self._update_parts(), "tab")
        self.state.param.watch(lambda *_: self.update_place(), ["network", "image", "region"])
        if pn.state.curdoc is not None:
            pn.state.on_session_destroyed(self._leave)

    @functools.cached_property
    def place(self) -> PlaceView:
        return PlaceView(lambda region: self.state.param.update(region=region))

    # What a tab shows is made when the tab is first opened: figures take long to make.

    @functools.cached_property
    def distributions(self) -> DistributionsView:
        return DistributionsView(lambda channel: self.state.param.update(channel=channel))

    @functools.cached_property
    def mismatch(self) -> MismatchView:
        return MismatchView(self._choose_layer)

    @functools.cached_property
    def points(self) -> PointsView:
        return PointsView(self.by_hand.place)

    @functools.cached_property
    def by_hand(self) -> ByHand:
        return ByHand(self.state, lambda sentence: self.status.set_error("by hand", sentence))

    @functools.cached_property
    def images(self) -> ImagesView:
        return ImagesView()

    @functools.cached_property
    def deployment(self) -> DeploymentView:
        return DeploymentView()

    @functools.cached_property
    def layers(self) -> LayersView:
        view = LayersView(self._choose_layer)
        self.state.param.watch(lambda event: view.mark(event.new), "layer")
        return view

    @functools.cached_property
    def methods(self) -> MethodsView:
        return MethodsView(self.state.param.update)

    @functools.cached_property
    def trainer(self) -> Trainer:
        return Trainer(self.state, self.submit, self.stop)

    @functools.cached_property
    def sweeper(self) -> Sweeper:
        def complain(sentence: str) -> None:
            self.status.set_error("sweep note", sentence)

        return Sweeper(self.state, self.submit, self.stop, complain, self._on_document)

    def _choose_layer(self, layer: str) -> None:
        self.state.layer = layer

    def start(self) -> None:
        """Compute what the open tab shows, once the page is loaded: what changes before gets lost."""
        for output in DEPENDS:
            self._update(output)
        self._update_parts()
        self.update_place()
        self._on_document(lambda: self.status.set_done("page"))

    def _update(self, output: str) -> None:
        """Ask anew for an output of the open tab if its choices are others than before."""
        tab, choices = DEPENDS[output]
        if self.state.tab != tab:
            if output in self.status.busy or output in self.status.errors:
                self._asked.pop(output, None)
            self.stop(output)
            return
        asked = repr([getattr(self.state, name) for name in choices])
        if self._asked.get(output) != asked:
            self._asked[output] = asked
            UPDATES[output](self)

    def _update_parts(self) -> None:
        for tab, name in ((TRAINING, "trainer"), (SWEEP, "sweeper")):
            if self.state.tab == tab or name in vars(self):
                getattr(self, name).update()

    def _leave(self, context) -> None:
        self._on_document.end()
        for name in ("trainer", "sweeper"):
            if name in vars(self):
                getattr(self, name).leave()
        for runner in self._runners.values():
            runner.cancel()
        self.uploads.shelf.close()

    def submit(
        self,
        output: str,
        work: Callable,
        show: Callable,
        clear: Callable = lambda: None,
        finish: Callable = lambda: None,
    ) -> None:
        # By the same way as what follows, so that "Working" never comes after "Ready".
        self._on_document(lambda: (self.status.set_error(output, ""), self.status.set_busy(output, "", 0.0)))
        self._runners[output].submit(
            work,
            show,
            lambda sentence: (self.status.set_error(output, sentence), clear()),
            lambda what, share: self.status.set_busy(output, what, share),
            lambda: (self.status.set_done(output), finish()),
        )

    def stop(self, output: str) -> None:
        """Nobody looks at it."""
        self._runners[output].cancel()
        # By the way of what was told before, so that it comes last.
        self._on_document(lambda: (self.status.set_done(output), self.status.set_error(output, "")))

    def stop_all(self) -> None:
        """What is under way is not wanted; any change of a choice asks anew."""
        for output in self._runners.keys() & self.status.busy.keys():
            self._asked.pop(output, None)
            self.stop(output)
        self._on_document(lambda: self.status.param.update(stopped=True))

    def update_place(self) -> None:
        """Where on the image the region is."""
        state, view = self.state, self.place
        image, region = state.image, state.region
        if region == WHOLE:
            return
        size = catalog.lr_size(image, catalog.scale_of(state.network))
        part = regions.window(region, *size)

        def work(token: Token, emit: Callable) -> None:
            emit(regions.thumbnail(image, token=token))

        self.submit("place", work, lambda small: view.show(small, part, size))


@functools.cache
def warm_up() -> None:
    """Start to compute what a new visitor sees first, once a process, before anybody asks."""
    state, token = ExplorerState(), Token()
    config = state.configs()

    def work() -> None:
        with contextlib.suppress(Cancelled):  # the server ends
            activations.distribution(state.network, state.layer, token=token)
            channel = (state.network, state.layer, state.channel)
            for compared in ((False,), ()):  # as a visitor asks
                asked = (*channel, config(state.activation_bits), (), False, *compared)
                points.points(*asked, token=token)
            where = (state.network, state.image, state.region)
            for what in (*((name,) for name in TITLES), *((config(b), ()) for b in state.shown_bits())):
                pictures.picture(*where, *what, token=token)
            activations.mismatch(state.network, token=token)

    SLOW.submit(warm_up, token, work)
