"""The tab Training: recorded runs, and a visitor's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape

import panel as pn
import param

from core import OdmConfig, QuantConfig
from core.qat.config import REGULARIZERS, VERSIONS
from explorer.choices.catalog import trained
from explorer.choices.own_runs import training_run
from explorer.choices.state import OWN_RUN, TRAINING, ExplorerState
from explorer.jobs.training_run import Run
from explorer.page.sections import answering, details, html, note
from explorer.pipeline import pictures
from explorer.server.document_queue import held
from explorer.session import Output
from explorer.tabs.poll import Poll
from explorer.tabs.tab import Tab
from explorer.views.training import TILES, TrainingView

NO_RUN = "No run yet: choose its settings and press Start."
QUESTION = "Can training repair what few bits break?"
NOTE = (
    "The float network is quantized, then trained: ranges and weights learn together. The regularizer makes "
    "the layers' inputs easier to quantize; ODM lets it act only where its gradient agrees with that of "
    "reconstruction. Grey lines: every layer; blue: the chosen one; red: the moment. ODM: arXiv 2307.13337, "
    "v1 and v2; PAMS: learned clipping (arXiv 2011.04212). A run of your own trains on four of the packaged "
    "photographs and is scored on the other two, in a process of its own; it ends when this page closes, "
    "and its files are deleted. On your own photographs: python -m core odm."
)

VERSION_NAMES = {"ODM v2": "v2", "ODM v1": "v1", "PAMS": "pams"}
assert set(VERSION_NAMES.values()) == set(VERSIONS)


class Trainer(param.Parameterized):
    """Binds the choices on training to `view`.

    `run(name, work)` starts a job, `stop(name)` ends it, as a session's do.
    """

    text = param.String("", doc="The state of the visitor's own run, in words")

    def __init__(self, state: ExplorerState, run: Callable, stop: Callable):
        super().__init__()
        self.state, self.view = state, TrainingView()
        self._run, self._stop = run, stop
        self.own: Run | None = None
        self._poll = Poll(self._watch)
        state.param.watch(lambda *_: self.update(), ["tab", "network", "run", "image", "region"])
        state.param.watch(lambda *_: self.draw(), ["moment", "layer"])

    def _shown_run(self) -> tuple[str, str] | None:
        """Return network, and name or path, of the run on the page; None without one or in another tab."""
        if self.state.tab != TRAINING:
            return None
        network, run = self.state.network, self.state.run
        if run != OWN_RUN:  # when the network changes, the run follows a moment later
            return (network, run) if run in trained(network) else None
        own = self.own
        return (own.network, str(own.out)) if own and own.begun else None

    @held
    def draw(self) -> None:
        """Draw the curves, and the histogram at the chosen moment."""
        if shown := self._shown_run():
            card = pictures.training_card(*shown)
            self.view.show(card, self.state.layer, self.state.moment / 100)

    @held
    def update(self) -> None:
        """Show the chosen run with its pictures."""
        shown, view = self._shown_run(), self.view
        if shown is None:
            self._stop("training")
            if self.state.tab == TRAINING:
                view.clear(NO_RUN)
            return
        name, run = shown
        where = (self.state.image, self.state.region)
        bits = pictures.training_card(*shown)["bits"]
        untrained = QuantConfig("dfsq+", bits, bits)
        over = self.state.run != OWN_RUN or self.own.finished
        self.draw()
        view.wait()

        def work(token):
            show = view.show_picture
            yield partial(show, TILES[0], pictures.picture(name, *where, "float", token=token))
            for tile, what in zip(TILES[1:3], ("before", "after"), strict=True):
                made = None
                if what == "before" or over:
                    made = pictures.training_picture(name, *where, what, run, token=token)
                yield partial(show, tile, made)
            yield partial(show, TILES[3], pictures.picture(name, *where, untrained, (), token=token))

        self._run("training", work)

    def start(self) -> None:
        """Start a run of the visitor's own, or continue the one that was paused or killed."""
        try:
            asked = (self.state.network, self.state.training())
            if not self._goes_on(asked):
                run = training_run(*asked)
                self.cancel()
                self.own = run
            self.own.start()
        except (ValueError, OSError) as error:
            self.text = str(error)
            return
        self.text = "Starting …"
        self._poll.start()

    def _goes_on(self, asked: tuple[str, OdmConfig]) -> bool:
        """Tell whether to continue: a paused run, or the chosen one if it ended early."""
        own = self.own
        return own is not None and own.can_go_on and (own.paused or (own.network, own.config) == asked)

    def pause(self) -> None:
        """Pause the visitor's own run."""
        if self.own is not None and self.own.alive:
            self.own.pause()

    def cancel(self) -> None:
        """Stop and delete the visitor's own run."""
        if self.leave():
            self.text = ""
            self.update()

    def leave(self) -> bool:
        """End the visitor's own run without a change of the page; return whether there was one."""
        self._poll.stop()
        own, self.own = self.own, None
        if own is not None:
            own.cancel()
        return own is not None

    @held
    def _watch(self) -> None:
        """Show the progress of the run under way, once a second."""
        run = self.own
        self.text = run.status_text()
        self.draw()
        if not run.alive:
            self._poll.stop()
            self.update()


class TrainingTab(Tab):
    """The choice of a run, its settings, the buttons, and the view."""

    key = TRAINING

    def make(self) -> Sequence[Output]:
        """Make the trainer, which follows the choices by itself."""
        self.trainer = Trainer(self.state, self.session.run, self.session.stop)
        self.session.leaving.append(self.trainer.leave)
        self.session.once_started(self.trainer.update)
        return ()

    def layout(self) -> pn.Column:
        """Return controls, figures and the note."""
        trainer, p = self.trainer, self.state.param
        small = dict(margin=(0, 8))
        own = p.run.rx() == OWN_RUN

        def switch(parameter, label):
            return pn.widgets.Checkbox.from_param(parameter, label=label, margin=(24, 8, 0, 8))

        constants = pn.FlexBox(
            pn.widgets.Select.from_param(
                p.train_version, label="Method", options=VERSION_NAMES, width=110, **small
            ),
            pn.widgets.IntSlider.from_param(p.train_bits, label="Bits", width=120, **small),
            pn.widgets.Select.from_param(
                p.train_regularizer, label="Regularizer", options=list(REGULARIZERS), width=130, **small
            ),
            switch(p.train_correction, "Weight clipping corrected"),
            switch(p.train_offsets, "Distribution offsets"),
            pn.widgets.IntSlider.from_param(p.train_steps, label="Steps", step=50, width=160, **small),
            visible=own,
            margin=0,
        )
        buttons = pn.FlexBox(visible=own, margin=0)
        for label, act in (("Start", trainer.start), ("Pause", trainer.pause), ("Cancel", trainer.cancel)):
            button = pn.widgets.Button(
                label=label, width=90, margin=(6, 8), color="primary", variant="outline"
            )
            button.on_click(held(lambda _, act=act: act()))
            buttons.append(button)
        buttons.append(html(pn.bind(escape, trainer.param.text), margin=(10, 8)))
        chosen = pn.FlexBox(
            pn.widgets.Select.from_param(p.run, label="Run", width=220, **small),
            pn.widgets.IntSlider.from_param(p.moment, label="Moment / % of the steps", width=260, **small),
            pn.widgets.Select.from_param(p.layer, label="Layer", width=180, **small),
            margin=0,
        )
        return answering(
            QUESTION,
            pn.Column(chosen, constants, buttons, css_classes=["card"], sizing_mode="stretch_width"),
            trainer.view.panel,
            details(note(NOTE)),
        )
