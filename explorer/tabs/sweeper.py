"""The controller of the tab Sweep: the chosen grid, the sweep that is shown, and its progress."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial

import param

from explorer.choices.catalog import layer_channels
from explorer.choices.own_runs import start_sweep
from explorer.choices.state import BITS, EXPLORE, SAME, SWEEP, ExplorerState
from explorer.choices.sweep_grid import FIELDS, MEAN, VALUES, SweepChoices
from explorer.elements.sweep import TABLE_HEIGHT, table
from explorer.jobs import sweep_runs
from explorer.jobs.latest import QUICK
from explorer.jobs.token import Token
from explorer.pipeline import sweep_rows
from explorer.server.document_queue import held
from explorer.tabs.poll import Poll
from explorer.views.drawn import Drawn
from explorer.views.sweep import SweepView

GRID = ["networks", "methods", "bits", "weight_bits", "sets", "selectors", "tunes", "layers", "images"]


class Sweeper(param.Parameterized):
    """Binds the choices on sweeps to the views.

    `run(name, work, pool, clear)` starts a job, `stop(name)` ends it, `complain(sentence)` shows an error,
    `later(call)` queues a call on the document.
    """

    ahead = param.String("", doc="How many rows the grid has, and how long they take")
    progress = param.Tuple((0.0, ""), doc="Share done, and a sentence, of the sweep that is shown")
    running = param.Boolean(False, doc="Whether the sweep that is shown is under way")
    form = param.Boolean(False, label="New sweep", doc="Whether the grid of a new sweep can be chosen")
    asked = param.Boolean(False, label="Delete", doc="Whether to ask if the sweep that is shown may go")
    unfinished = param.Boolean(False, doc="Whether the sweep that is shown was stopped before its end")
    names = param.List(["bundled"], doc="Sweeps that can be shown")
    networks = param.List(["edsr_x2"], doc="Networks of the sweep that is shown")
    images = param.List([MEAN], doc="Its images")
    reasons = param.Dict({}, doc="What went wrong in the sweep that is shown, and how often")
    protocol = param.String("", doc="Protocol of the sweep that is shown")

    def __init__(
        self, state: ExplorerState, run: Callable, stop: Callable, complain: Callable, later: Callable
    ):
        super().__init__()
        self.state, self.choices = state, SweepChoices()
        self._later = later
        self.view, self.table = SweepView(self.open), Drawn(table, TABLE_HEIGHT)
        self._run, self._stop, self._complain = run, stop, complain
        self._data: sweep_rows.Shown | None = None
        self._version: tuple = ()
        self.private: list[str] = []  # sweeps of own files, the newest first
        self._list()  # before a menu of them is made, which would choose another one if it lacked this one
        self._poll = Poll(self._watch)
        state.param.watch(lambda *_: self.update(), ["tab", "sweep"])
        watch = self.choices.param.watch
        watch(lambda *_: self.look_ahead(), GRID)
        watch(lambda *_: self.update(), ["shown_network", "shown_image", "cost", "across", "down", "value"])

    def _list(self) -> None:
        self.names = list(dict.fromkeys([*self.private, *sweep_runs.names(), self.state.sweep]))

    @held
    def update(self) -> None:
        """Show the chosen sweep, its plots, and the preview of the grid."""
        if self.state.tab != SWEEP:
            self._stop("sweep")
            self._stop("sweep ahead")
            self._poll.stop()
            return
        self._list()
        if not self.ahead:
            self.look_ahead()
        self._follow()
        self._draw()
        if self.running:
            self._poll.start()

    def _draw(self) -> None:
        name, c = self.state.sweep, self.choices
        chosen = (c.shown_network, c.shown_image)
        axes, cost, running = (c.across, c.down, c.value), c.cost, self.running

        def work(token):
            self._version = sweep_runs.version(name)
            if not self._version and running:
                yield partial(self._clear, f"The first rows of {name} are being computed.")
                return
            data = sweep_rows.shown(name, *chosen, token=token)
            table = sweep_rows.table(name, data.network, data.image, *axes, token=token)
            yield partial(self._show, data, table, axes, cost)

        self._run("sweep", work, QUICK, self._clear)

    def _show(self, data: sweep_rows.Shown, table: sweep_rows.Table, axes: tuple, cost: str) -> None:
        self._data = data
        self.param.update(networks=data.networks or [self.choices.shown_network], images=data.images)
        # If the sweep lacks what was chosen, this draws once more.
        self.choices.param.update(
            shown_network=data.network or self.choices.shown_network, shown_image=data.image
        )
        if not data.dots["psnr"]:
            self._clear("No configuration has a score.")
            self.reasons, self.protocol = data.reasons, data.protocol
            return
        self.view.show(data, cost)
        words = [{v: k for k, v in names.items()} for names in (FIELDS, FIELDS, VALUES)]
        self.table.show(table, *(names[field] for names, field in zip(words, axes, strict=True)))
        self.reasons, self.protocol = data.reasons, data.protocol

    def _clear(self, sentence: str = "") -> None:
        self._data = None
        self.view.clear(sentence)
        self.table.clear()
        self.reasons, self.protocol = {}, ""

    def look_ahead(self) -> None:
        """Show how many rows the grid has, and how long they take."""

        def work(token):
            preview = sweep_rows.preview(json.dumps(self.choices.grids()), token=token)
            number = f"{preview.rows:,} of at most {sweep_runs.MAX_ROWS:,}"
            text = f"{number} rows, about {format_duration(preview.seconds)} on this machine"
            yield lambda: self.param.update(ahead=text)

        self.ahead = "…"
        self._run("sweep ahead", work, QUICK, self._no_preview)

    def _no_preview(self) -> None:
        self.ahead = ""

    def start(self) -> None:
        """Start the sweep of the grid, or continue it, and show it."""
        try:
            choices, grids = self.choices.copy(), self.choices.grids()
            sweep_runs.place(choices.title)
        except ValueError as error:
            self._complain(str(error))
            return

        def begin(token: Token) -> sweep_runs.Run:
            sweep_rows.preview(json.dumps(grids), token=token)  # refuses what is too large
            return start_sweep(choices)

        self._begin(begin)

    def go_on(self) -> None:
        """Continue the sweep that is shown."""
        name = self.state.sweep
        self._begin(lambda token: sweep_runs.go_on(name))

    def _begin(self, begin: Callable[[Token], sweep_runs.Run]) -> None:
        def work(token):
            try:
                run = begin(token)
            except OSError as error:
                raise ValueError(str(error)) from error
            yield partial(self._started, run)

        self._run("sweep ahead", work, QUICK)

    def delete(self) -> None:
        """Delete the sweep that is shown, and show the bundled one."""
        self.asked = False
        try:
            sweep_runs.delete(self.state.sweep)
        except ValueError as error:
            self._complain(str(error))
            return
        self.private = [name for name in self.private if name != self.state.sweep]
        self.state.sweep = sweep_runs.BUNDLED

    def _started(self, run: sweep_runs.Run) -> None:
        self._complain("")
        self.form = False
        if run.name.startswith(sweep_runs.PRIVATE) and run.name not in self.private:
            self.private.insert(0, run.name)
        if self.state.sweep == run.name:
            self.update()
        else:
            self.state.sweep = run.name

    def cancel(self) -> None:
        """Stop the sweep that is shown; its rows are saved."""
        if (run := self._current()) is not None:
            run.cancel()

    def _current(self) -> sweep_runs.Run | None:
        """Return the run of the sweep that is shown; None if it is not under way."""
        run = sweep_runs.current()
        return run if run is not None and run.name == self.state.sweep else None

    @held
    def _watch(self) -> None:
        """Show the progress of the sweep, and its plots when there are new rows."""
        run = self._follow()
        if not self.running and self._poll.running:
            self._poll.stop()
            if run is not None and run.problem():
                self._complain(run.problem())
        if sweep_runs.version(self.state.sweep) != self._version:
            self._draw()

    def _follow(self) -> sweep_runs.Run | None:
        """Show the progress of the sweep, and return its run, None if it is not under way."""
        run, name = self._current(), self.state.sweep
        self.running = run is not None and run.alive
        done, total = run.progress() if run else sweep_runs.last_progress(name)
        self.unfinished = not self.running and done < total
        self.progress = _progress(run, done, total) if run else _left(name, done, total)
        return run

    def leave(self) -> None:
        """Stop following when the visitor is gone; the sweep goes on, unless it is of own files."""
        self._poll.stop()
        for name in self.private:
            sweep_runs.end_private(name)

    def open(self, index: int) -> None:
        """Show one of the configurations in the other views."""
        dots = {name: values[index] for name, values in self._data.dots.items()}
        bits = dots["activation_bits"]
        if bits not in BITS:
            self._complain("Only configurations of 2 to 8 activation bits can be opened; tap another dot.")
            return
        weight_bits = SAME if dots["weight_bits"] == bits else dots["weight_bits"]
        chosen = {"activation_bits": bits, "weight_bits": weight_bits, "method": dots["method"]}
        if dots["set_size"] == dots["set_size"]:
            chosen |= {"words": dots["words"], "terms": dots["terms"], "selector": dots["selector"]}
        network = self._data.network
        try:
            layers = list(layer_channels(network))
        except ValueError as error:  # of a file that was removed since
            self._complain(str(error))
            return
        quantized = layers if dots["layers"] == "all" else dots["layers"].split()
        chosen["float_layers"] = [name for name in layers if name not in quantized]
        if self._data.image in self.state.param.image.objects:
            chosen["image"] = self._data.image
        own = ", ".join(
            n for n in (*sweep_rows.CHOSEN, "block") if dots[n] is not None and dots[n] == dots[n]
        )
        own = ", ".join(filter(None, [own, "tuned ranges" if dots["tune"] else ""]))
        self._complain(
            f"The other views have no control for {own}; they show the method's own." if own else ""
        )
        # The tab first: Panel asks its CDN for the styles of what changes while it is hidden.
        self.state.tab = EXPLORE
        self._later(lambda: self._take(network, chosen))

    def _take(self, network: str, chosen: dict) -> None:
        self.state.network = network  # decides which layers and methods there are
        self.state.param.update(**chosen)

    def content(self, suffix: str) -> io.BytesIO:
        """Write the rows of the sweep that is shown as a file, csv or parquet."""
        return io.BytesIO(sweep_rows.file_of_rows(self.state.sweep, suffix))


def _progress(run: sweep_runs.Run, done: int, total: int) -> tuple[float, str]:
    title = sweep_runs.title(run.name)
    if not total:
        return 0.0, f"{title}: starting …" if run.alive else run.problem()
    left = run.seconds_left()
    if run.alive:
        rest = f", about {format_duration(left)} left" if left is not None else ""
        what = "stopping …" if run.cancelled else f"{done:,} of {total:,} rows{rest}"
    elif run.cancelled:
        what = f"cancelled at {done:,} of {total:,} rows; press Resume to continue"
    else:
        what = f"{done:,} of {total:,} rows"
    return done / total, f"{title}: {what}"


def _left(name: str, done: int, total: int) -> tuple[float, str]:
    """Describe the progress of a sweep that stopped without this server's knowing."""
    if done >= total:
        return 0.0, ""
    return done / total, f"{name}: stopped at {done:,} of {total:,} rows; press Resume to continue"


def format_duration(seconds: float) -> str:
    """Write a duration in s, from 1 minute on in min, from 90 minutes on in h."""
    if seconds < 60:
        return f"{max(1, round(seconds)):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
