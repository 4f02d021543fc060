"""One visitor: the choices, the outputs that follow them, and their jobs."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable

import panel as pn
import param

from explorer import int8, pictures, pipeline
from explorer.jobs import QUICK, SLOW, LatestWins, Token
from explorer.state import BITS, DEPLOYMENT, LAYERS, ExplorerState
from explorer.sweeper import Sweeper
from explorer.trainer import Trainer
from explorer.views.deployment import DeploymentView
from explorer.views.distributions import DistributionsView
from explorer.views.images import ImagesView
from explorer.views.layers import LayersView
from explorer.views.mismatch import MismatchView
from explorer.views.points import PointsView

QUANTIZATION = ("activation_bits", "method", "words", "terms", "selector")
QUICKER = ("distributions", "points", "sweep", "sweep ahead")
SLOWER = ("images", "mismatch", "int8", "training", "layers")
POOLS = dict.fromkeys(QUICKER, QUICK) | dict.fromkeys(SLOWER, SLOW)
PATIENCE = 0.25  # seconds that pictures give way to points, which take less
PAINT = 0.05  # seconds that a browser on the same machine needs to paint them
REFERENCES = {"hr": "HR, ground truth", "bicubic": "Bicubic", "float": "Float SR"}


class Status(param.Parameterized):
    """What the page says of the work under way, and of what went wrong, by output."""

    busy = param.Dict({}, doc="output -> (what is being done, share done)")
    errors = param.Dict({}, doc="output -> one sentence")

    def set_busy(self, output: str, what: str, share: float) -> None:
        self.busy = self.busy | {output: (what, share)}

    def set_done(self, output: str) -> None:
        self.busy = {k: v for k, v in self.busy.items() if k != output}

    def set_error(self, output: str, sentence: str) -> None:
        rest = {k: v for k, v in self.errors.items() if k != output}
        self.errors = rest | ({output: sentence} if sentence else {})


class Session:
    """Binds state to views: a choice starts the jobs of the outputs that depend on it."""

    def __init__(self, state: ExplorerState):
        self.state, self.status = state, Status()
        self.distributions = DistributionsView(lambda channel: self.state.param.update(channel=channel))
        self.mismatch = MismatchView(lambda layer: self.state.param.update(layer=layer))
        self.points = PointsView()
        self.images = ImagesView([*REFERENCES, *BITS])
        self.deployment = DeploymentView()
        self.layers = LayersView(lambda layer: self.state.param.update(layer=layer))
        self.trainer = Trainer(self.state, self._submit, self._stop)
        self.sweeper = Sweeper(
            self.state,
            self._submit,
            self._stop,
            lambda text: self.status.set_error("sweep note", text),
            self._on_document,
        )
        self._document = pn.state.curdoc
        self._points_done = threading.Event()
        self._runners = {output: LatestWins(self._on_document, pool) for output, pool in POOLS.items()}
        self.status.busy = dict.fromkeys(POOLS, ("", 0.0))
        watch = self.state.param.watch
        watch(lambda *_: self.update_distributions(), ["network", "layer", "channel"])
        watch(lambda *_: self.update_mismatch(), ["network", "layer"])
        watch(lambda *_: self.update_points(), ["network", "layer", "channel", *QUANTIZATION])
        choices = [
            "network",
            "image",
            "region",
            *QUANTIZATION,
            "weight_bits",
            "compared_bits",
            "float_layers",
        ]
        watch(lambda *_: self.update_images(), [*choices, "left", "right"])
        deployed = ["tab", "network", "image", "region", "strategy", "representatives", "float_layers"]
        watch(lambda *_: self.update_int8(), deployed)
        studied = ["tab", "network", "image", "region", *QUANTIZATION, "weight_bits", "float_layers"]
        watch(lambda *_: self.update_layers(), studied)
        watch(lambda event: self.layers.mark(event.new), "layer")
        if self._document is not None:
            pn.state.on_session_destroyed(self._leave)

    def start(self) -> None:
        """Compute everything, once the page is loaded: what changes before is lost on its way."""
        self.update_distributions()
        self.update_points()
        self.update_images()
        self.update_mismatch()
        self.update_int8()
        self.trainer.update()
        self.update_layers()
        self.sweeper.update()

    def _leave(self, context) -> None:
        self.trainer.leave()
        self.sweeper.leave()
        for runner in self._runners.values():
            runner.cancel()

    def _on_document(self, call: Callable[[], None]) -> None:
        if self._document is None:
            call()
        else:
            self._document.add_next_tick_callback(lambda: self._in_order(call))

    def _in_order(self, call: Callable[[], None]) -> None:
        """Send the changes in the order they are made.

        Panel writes to the websocket at once or on the next tick, Bokeh when the callback is over: a change
        of a new model could overtake the message that brings the model, and an old text the new one.
        """
        self._document.hold("collect")
        try:
            call()
        finally:
            self._document.unhold()

    def _submit(
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

    def _stop(self, output: str) -> None:
        """Nobody looks at it."""
        self._runners[output].cancel()
        self.status.set_done(output)

    def update_distributions(self) -> None:
        name, layer, channel = self.state.network, self.state.layer, self.state.channel

        def work(token: Token, emit: Callable) -> None:
            emit(pipeline.distribution(name, layer, token=token))

        self._submit("distributions", work, lambda data: self.distributions.show(data, channel))

    def update_mismatch(self) -> None:
        name, layer = self.state.network, self.state.layer

        def work(token: Token, emit: Callable) -> None:
            emit(pipeline.mismatch(name, token=token))

        self._submit("mismatch", work, lambda found: self.mismatch.show(found, layer))

    def update_points(self) -> None:
        state = self.state
        name, layer, channel, bits = state.network, state.layer, state.channel, state.activation_bits
        configs = state.configs()

        self._points_done.clear()

        def work(token: Token, emit: Callable) -> None:
            emit(pipeline.points(name, layer, channel, configs(bits), token=token))

        self._submit("points", work, self.points.show, self.points.clear, self._points_done.set)

    def update_images(self) -> None:
        state = self.state
        where = (state.network, state.image, state.region)
        current, sides = state.activation_bits, (state.picture_key("left"), state.picture_key("right"))
        bits = state.shown_bits()
        weights = {b: b if not state.weight_bits else state.weight_bits for b in bits}
        names = REFERENCES | {b: _name(weights[b], b) for b in bits}
        configs, kept = state.configs(), tuple(state.float_layers)

        # What the sliders ask for comes first, then the comparison, then the rest.
        order = sorted(names, key=lambda key: key not in REFERENCES and key not in (current, *sides))

        def work(token: Token, emit: Callable) -> None:
            if not self._points_done.is_set():
                self._points_done.wait(PATIENCE)
                time.sleep(PAINT)
            emit(("arrange", (names, current)))
            shown, waiting = {}, True
            for done, key in enumerate(order):
                token.progress("Super-resolving", done / len(order))
                try:
                    what = (key,) if key in REFERENCES else (configs(key), kept)
                    shown[key] = pictures.picture(*where, *what, token=token)
                    emit((key, shown[key]))
                except ValueError as error:
                    emit((key, str(error)))
                if waiting and all(side in shown for side in sides):
                    waiting = False
                    both = [shown[side] for side in sides]
                    emit(("compare", (*both, pictures.difference(*both))))
            if waiting:
                emit(("compare", None))

        self._submit("images", work, lambda result: self._show_image(*result))

    def plan(self) -> int8.Plan:
        """The INT8 file that is asked for now."""
        state = self.state
        return int8.Plan(state.network, state.strategy, state.representatives, tuple(state.float_layers))

    def update_int8(self) -> None:
        if self.state.tab != DEPLOYMENT:
            self._stop("int8")
            return
        plan, where = self.plan(), (self.state.image, self.state.region)
        view = self.deployment

        def work(token: Token, emit: Callable) -> None:
            names = int8.variants(plan.network)
            emit((view.arrange, names))
            found = {}
            for name in names:
                found[name] = int8.outcome(plan, name, *where, token=token)
                emit((view.show_variant, name, found[name]))
                emit((view.show_table, dict(found), {}))
            emit((view.show_outputs, int8.outputs(plan, token=token)))
            emit((view.show_table, found, int8.times(plan, token=token)))

        self._submit("int8", work, lambda result: result[0](*result[1:]))

    def update_layers(self) -> None:
        if self.state.tab != LAYERS:
            self._stop("layers")
            return
        state, view = self.state, self.layers
        where = (state.network, state.image, state.region)
        config, kept, layer = state.configs()(state.activation_bits), tuple(state.float_layers), state.layer
        view.wait()

        def work(token: Token, emit: Callable) -> None:
            total, found = pictures.sensitivity(*where, config, token=token)
            emit((view.show, total, found, layer))
            choices = ((config,), (config, kept), ("float",))
            shown = [pictures.picture(*where, *choice, token=token) for choice in choices]
            emit((view.show_scores, *shown, len(kept)))

        self._submit("layers", work, lambda result: result[0](*result[1:]))

    def _show_image(self, key, result) -> None:
        if key == "arrange":
            self.images.arrange(*result)
        elif key == "compare" and result is None:
            self.images.clear_comparison()
        elif key == "compare":
            self.images.compare(*result)
        elif isinstance(result, str):
            self.images.tiles[key].say(result)
        else:
            self.images.window.fit(*result.rgb.shape[:2])
            self.images.tiles[key].show(result)


@functools.cache
def warm_up() -> None:
    """Start to compute what a new visitor sees first, once a process, before anybody asks."""
    state, token = ExplorerState(), Token()
    config = state.configs()

    def work() -> None:
        pipeline.distribution(state.network, state.layer, token=token)
        pipeline.points(state.network, state.layer, state.channel, config(state.activation_bits), token=token)
        where = (state.network, state.image, state.region)
        for what in (*((name,) for name in REFERENCES), *((config(bits), ()) for bits in state.shown_bits())):
            pictures.picture(*where, *what, token=token)
        pipeline.mismatch(state.network, token=token)

    SLOW.submit(work)


def _name(weight_bits: int, activation_bits: int) -> str:
    return f"W{weight_bits}A{activation_bits}"
