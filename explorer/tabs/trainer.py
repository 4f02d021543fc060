"""One visitor's tab on training: the run that is shown, and the one that is under way."""

from __future__ import annotations

from collections.abc import Callable

import panel as pn
import param

from core import OdmConfig, QuantConfig
from explorer.choices.catalog import trained
from explorer.choices.state import OWN, TRAINING, ExplorerState
from explorer.choices.visitor_files import is_own
from explorer.jobs.token import Token
from explorer.jobs.training_run import OWN_NETWORK, Run
from explorer.pipeline import pictures
from explorer.views.training import TILES, TrainingView

POLL = 1000  # ms
NO_RUN = "No run yet: choose its constants and start it."


class Trainer(param.Parameterized):
    """Binds the choices on training to `view`.

    `submit(output, work, show)` starts a job, `stop(output)` ends it.
    """

    text = param.String("", doc="What the page says of the visitor's own run")

    def __init__(self, state: ExplorerState, submit: Callable, stop: Callable):
        super().__init__()
        self.state, self.view = state, TrainingView()
        self._submit, self._stop = submit, stop
        self.own: Run | None = None
        self._poll = None
        state.param.watch(lambda *_: self.update(), ["network", "run", "image", "region"])
        state.param.watch(lambda *_: self.draw(), ["moment", "layer"])

    def _shown_run(self) -> tuple[str, str] | None:
        """Network, and name or path, of the run on the page; None if there is none or the tab is closed."""
        if self.state.tab != TRAINING:
            return None
        network, run = self.state.network, self.state.run
        if run != OWN:  # when the network changes, the run follows a moment later
            return (network, run) if run in trained(network) else None
        own = self.own
        return (own.network, str(own.out)) if own and own.begun else None

    def draw(self) -> None:
        """The curves and the histogram at the chosen moment."""
        if shown := self._shown_run():
            card = pictures.training_card(*shown)
            self.view.show(card, self.state.layer, self.state.moment / 100)

    def update(self) -> None:
        """The run that is asked for now, with its pictures."""
        shown, view = self._shown_run(), self.view
        if shown is None:
            self._stop("training")
            if self.state.tab == TRAINING:
                view.clear(OWN_NETWORK if is_own(self.state.network) else NO_RUN)
            return
        name, run = shown
        where = (self.state.image, self.state.region)
        bits = pictures.training_card(*shown)["bits"]
        untrained = QuantConfig("dfsq+", bits, bits)
        over = self.state.run != OWN or self.own.finished
        self.draw()
        view.wait()

        def work(token: Token, emit: Callable) -> None:
            emit((TILES[0], pictures.picture(name, *where, "float", token=token)))
            for tile, what in zip(TILES[1:3], ("before", "after"), strict=True):
                made = None
                if what == "before" or over:
                    made = pictures.training_picture(name, *where, what, run, token=token)
                emit((tile, made))
            emit((TILES[3], pictures.picture(name, *where, untrained, (), token=token)))

        self._submit("training", work, lambda result: view.show_picture(*result))

    def start(self) -> None:
        """Begin a run of the visitor's own, or go on with the one that was paused or killed."""
        try:
            asked = (self.state.network, self.state.training())
            if not self._goes_on(asked):
                run = Run(*asked)  # refuses before the last one is gone
                self.cancel()
                self.own = run
            self.own.start()
        except (ValueError, OSError) as error:
            self.text = str(error)
            return
        self.text = "Starting …"
        if self._poll is None:
            self._poll = pn.state.add_periodic_callback(self._watch, period=POLL)

    def _goes_on(self, asked: tuple[str, OdmConfig]) -> bool:
        """A run that was paused, and one that ended too early unless another one is asked for."""
        own = self.own
        return own is not None and own.can_go_on and (own.paused or (own.network, own.config) == asked)

    def pause(self) -> None:
        if self.own is not None and self.own.alive:
            self.own.pause()

    def cancel(self) -> None:
        """Stop and forget the visitor's own run."""
        if self.leave():
            self.text = ""
            self.update()

    def leave(self) -> bool:
        """End the visitor's own run, with nothing changed on the page; whether there was one."""
        self._rest()
        own, self.own = self.own, None
        if own is not None:
            own.cancel()
        return own is not None

    def _rest(self) -> None:
        if self._poll is not None:
            self._poll.stop()
            self._poll = None

    def _watch(self) -> None:
        """Once a second while a run is under way."""
        run = self.own
        self.text = run.in_words()
        self.draw()
        if not run.alive:
            self._rest()
            self.update()
