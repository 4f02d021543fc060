"""A part of the tab Methods: the ranges of a static method tuned by distillation."""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path

import panel as pn
import param

import core
from core.ptq.methods import METHODS
from core.qat.tuned_ranges import is_tunable
from explorer.choices.catalog import stem
from explorer.jobs.fair_pool import FairPool
from explorer.page.sections import card, note
from explorer.pipeline import pictures, tuning
from explorer.pipeline.names import weights_and_activations
from explorer.pipeline.tuning import TuningRequest
from explorer.server.document_queue import held
from explorer.session import QUANTIZATION, SHOWN, Output, Session, Work
from explorer.views.canvas import Window
from explorer.views.theme import METHOD_COLORS
from explorer.views.training import TuningView

TITLE = "What do tuned ranges win?"
STEPS = 200
TUNABLE = [name for name in METHODS if is_tunable(core.QuantConfig(name))]
WHICH = f"Tuning takes methods with even levels between constant ends: {', '.join(TUNABLE)}. Make one large."
READY = "Tune learns both ends of every range of {} from the float network's own pictures, in some minutes."
STOPPED = "Stopped at step {} of {}. Press Tune to go on."
NOTE = (
    "Tuning, the second stage of 2DQuant (arXiv 2406.06649): random crops of the calibration patches pass "
    "through the float network and the quantized one; the ends of the ranges of activations and weights move "
    "so that output and features agree. No ground truth is seen, and the network stays static: it costs as "
    "much as before. Weights that were fitted to the quantized input (mse+) keep their values. Training with "
    "ground truth wins more, and takes longer: see the tab Training."
)
BETWEEN = 0.5  # seconds between two drawings of the loss
# One at a time on this server, for whoever is next; all else goes on beside it.
POOL = FairPool(1, 1, "tuning", nice=10)


class There(param.Parameterized):
    """What the buttons need to know."""

    method = param.Boolean(False, doc="Whether the large picture's method can be tuned")
    network = param.Boolean(False, doc="Whether its tuned network is there")


class Tuning(Output):
    """The tuning of the large picture's method: its results where they are there, and the button's job."""

    name, follows = "tuned", (*SHOWN, *QUANTIZATION, "weight_bits", "float_layers", "methods", "large")

    def __init__(self, session: Session, window: Window):
        super().__init__(session.state)
        self.session, self.view = session, TuningView(window)
        self.steps = pn.widgets.IntSlider(
            label="Steps", start=50, end=500, step=50, value=STEPS, width=200, margin=(3, 8)
        )
        self.steps.param.watch(lambda _: self.refresh(), "value")
        self.there = There()
        self._under_way: TuningRequest | None = None
        session.status.param.watch(lambda event: self._watch("tune" in event.new), "busy")

    def method(self) -> str:
        """Return the method whose picture is large, the first one if none is."""
        state = self.state
        return (
            state.large if state.large in ("hr", "float", *state.methods) else next(iter(state.methods), "")
        )

    def request(self) -> TuningRequest | None:
        """Return what Tune would tune now; None where that cannot be."""
        state, method = self.state, self.method()
        if method not in TUNABLE:
            return None
        config = state.configs(method)(state.activation_bits)
        layers = tuple(state.float_layers)
        return TuningRequest(state.network, config, self.steps.value, layers, tuple(state.calibration))

    def start(self) -> None:
        """Tune in a thread, and show the loss on the way."""
        request = self.request()
        if request is None:
            return
        self._under_way = request
        self._begin(request)

        def work(token):
            tell, drawn = token.tell, 0.0

            def follow(what: str, share: float | None) -> None:
                nonlocal drawn
                tell(what, share)
                if time.monotonic() - drawn > BETWEEN:
                    drawn = time.monotonic()
                    self.session.later(partial(self._show_losses, request))

            token.tell = follow
            tuning.tuned(*request, token=token)
            yield self.refresh

        self.session.run("tune", work, POOL, clear=self._fail)

    def _begin(self, request: TuningRequest) -> None:
        self.view.start(_title(request), METHOD_COLORS[request.config.method])
        self.view.said.object = f"Tuning {escape(_title(request))} …"

    def _fail(self) -> None:
        self._under_way = None
        self.refresh()

    def stop(self) -> None:
        """Stop the tuning under way; Tune goes on from there."""
        self.session.stop("tune")

    def _watch(self, busy: bool) -> None:
        """Say where the tuning stopped, when it ends without a result."""
        request = None if busy else self._under_way
        if request is not None:
            self._under_way = None
            if not tuning.tuned.known(*request):
                done = len(tuning.losses(request))
                self.view.said.object = STOPPED.format(f"{done:,}", f"{request.steps:,}")

    def _show_losses(self, request: TuningRequest) -> None:
        if request == self.request() == self._under_way:
            self.view.show_losses(tuning.losses(request), request.steps)

    def refresh(self) -> None:
        """Show what is there of the present choices."""
        self.session.run(self.name, self.work(), self.pool, self.clear)

    def work(self) -> Work:
        """Show the results of an earlier tuning of the same, or what the button would do."""
        state, view, request, method = self.state, self.view, self.request(), self.method()
        where = state.image, state.region
        known = request is not None and tuning.tuned.known(*request)

        def work(token):
            yield partial(self._offer, request, known)
            if not known:
                return
            before = pictures.PictureRequest(
                request.network, *where, request.config, request.float_layers, None, request.own
            )
            found = tuning.tuned(*request, token=token)
            losses = list(enumerate(found.losses.tolist(), 1))
            yield partial(view.start, _title(request), METHOD_COLORS[method])
            yield partial(view.show_losses, losses, request.steps)
            shown = (
                pictures.picture(*before, token=token),
                tuning.tuned_picture(*where, *request, token=token),
            )
            yield partial(view.show, *shown)

        return work

    def _offer(self, request: TuningRequest | None, known: bool) -> None:
        self.there.param.update(method=request is not None, network=known)
        if request is None:
            self.view.hide(WHICH)
        elif request == self._under_way:
            self._begin(request)
        elif not known:
            self.view.hide(READY.format(escape(_title(request))))

    def clear(self) -> None:
        """Show nothing: the status line says why."""
        self.there.param.update(method=False, network=False)
        self.view.hide("")

    def file(self) -> io.BytesIO:
        """Write the tuned network, as `core.load_quantized` reads it."""
        request = self.request()
        if request is None or not tuning.tuned.known(*request):
            raise ValueError("These ranges are not tuned yet; press Tune first")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.safetensors"
            core.save_quantized(tuning.tuned(*request).network, path)
            return io.BytesIO(path.read_bytes())

    def file_name(self) -> str:
        """Name that file: edsr_x2_mse_w4a4_tuned.safetensors."""
        config = request.config if (request := self.request()) else None
        size = weights_and_activations(config.weight_bits, config.activation_bits).lower() if config else ""
        return f"{stem(self.state.network)}_{self.method()}_{size}_tuned.safetensors"


def _title(request: TuningRequest) -> str:
    config = request.config
    return f"{config.method} {weights_and_activations(config.weight_bits, config.activation_bits)}"


def tuning_section(output: Tuning) -> pn.Column:
    """Return the buttons, what they made, and the note."""
    busy = pn.bind(lambda busy: "tune" in busy, output.session.status.param.busy)
    return card(TITLE, _buttons(output, busy), output.view.panel, note(NOTE))


def _buttons(output: Tuning, busy: Callable[..., bool]) -> pn.FlexBox:
    small = dict(margin=(18, 8, 0, 8))
    tune = pn.widgets.Button(
        label="Tune",
        disabled=pn.bind(lambda busy, ready: busy or not ready, busy, output.there.param.method),
        width=110,
        color="primary",
        variant="outline",
        **small,
    )
    stop = pn.widgets.Button(
        label="Stop tuning", disabled=pn.bind(lambda busy: not busy, busy), width=110, **small
    )
    tune.on_click(held(lambda _: output.start()))
    stop.on_click(held(lambda _: output.stop()))

    async def content() -> io.BytesIO:
        return await asyncio.to_thread(output.file)

    download = pn.widgets.FileDownload(
        callback=content,
        filename=pn.bind(lambda *_: output.file_name(), output.there.param.network),
        label="Tuned network",
        color="primary",
        visible=output.there.param.network,
        width=170,
        **small,
    )
    return pn.FlexBox(tune, stop, output.steps, download, margin=0)
