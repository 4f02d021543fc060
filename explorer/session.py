"""A session: one visitor's choices, the outputs that follow them, and the work under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import panel as pn

from explorer.choices.state import ExplorerState
from explorer.choices.status import Status
from explorer.choices.uploads import Uploads
from explorer.jobs.fair_pool import FairPool
from explorer.jobs.latest import SLOW, LatestWins
from explorer.jobs.token import Token
from explorer.server.document_queue import DocumentQueue, held
from explorer.server.notebook import NotebookQueue

Show = Callable[[], None]  # a change of the page
Work = Callable[[Token], Iterator[Show]]  # runs in a thread, and yields what the page then shows
SHOWN = ("network", "image", "region")
QUANTIZATION = ("activation_bits", "method", "words", "terms", "selector", "calibration")


def nothing() -> None:
    """Do nothing."""


class Output:
    """A part of the page that depends on some choices.

    name: for the status line; follows: the choices that it depends on; pool: the threads that compute it.
    """

    name = ""
    follows: Sequence[str] = ()
    pool: FairPool = SLOW

    def __init__(self, state: ExplorerState):
        self.state = state

    def work(self) -> Work:
        """Read the choices as they are now; return the work that computes in a thread."""
        raise NotImplementedError

    def clear(self) -> None:
        """Show nothing, since there is an error; the status line says which."""

    def done(self) -> None:
        """Do what is due when all is shown."""

    def wait(self) -> None:
        """Dim what is shown, which may be old, until it is shown anew."""


class Session:
    """Binds choices to outputs: a change starts the work of every output of the open tab that follows it."""

    def __init__(self, state: ExplorerState, queue: DocumentQueue | NotebookQueue | None = None):
        self.state, self.status = state, Status()
        self.later = queue or DocumentQueue()
        self.uploads = Uploads(state, self.status, self.later)
        self.leaving: list[Callable[[], object]] = []  # called when the visitor is gone
        self._runners: dict[str, LatestWins] = {}
        self._followed: list[tuple[Output, str]] = []
        self._begun: list[tuple[str, Show]] = []  # outputs whose work begins, until the page says so
        self._asked: dict[str, str] = {}  # output -> the choices it was last asked for
        self._started = threading.Event()
        self._at_start: list[Callable[[], None]] = []
        self.status.busy = {"page": ("", 0.0)}
        if pn.state.curdoc is not None:
            pn.state.on_session_destroyed(lambda context: self.leave())

    def follow(self, output: Output, tab: str = "") -> None:
        """Keep an output up to date while its tab is open; without a tab, always."""
        self._followed.append((output, tab))
        self.state.param.watch(held(lambda *_: self._update(output, tab)), ["tab", *output.follows])
        if self._started.is_set():
            self._update(output, tab)

    @held
    def start(self) -> None:
        """Compute what the open tab shows, once the page is loaded: earlier changes would get lost."""
        self._started.set()
        for output, tab in self._followed:
            self._update(output, tab)
        for call in self._at_start:
            call()
        self.later(lambda: self.status.set_done("page"))

    def once_started(self, call: Callable[[], None]) -> None:
        """Make a call now, or when the page is loaded."""
        call() if self._started.is_set() else self._at_start.append(call)

    def _update(self, output: Output, tab: str) -> None:
        """Run the work of an output of the open tab if its choices have changed."""
        name = output.name
        if tab not in ("", self.state.tab):
            if name in self.status.busy or name in self.status.errors:
                self._asked.pop(name, None)
            self.stop(name)
            return
        asked = repr([getattr(self.state, choice) for choice in output.follows])
        if self._asked.get(name) != asked and self._started.is_set():
            self._asked[name] = asked
            self.run(name, output.work(), output.pool, output.clear, output.done, output.wait)

    def run(
        self,
        name: str,
        work: Work,
        pool: FairPool = SLOW,
        clear: Show = nothing,
        done: Show = nothing,
        wait: Show = nothing,
    ) -> None:
        """Run `work` in a thread of `pool`, and cancel earlier work of that name."""
        self._begun.append((name, wait))
        if len(self._begun) == 1:  # all that one change starts is told at once
            # Through the same queue as what follows, so that "Working" never comes after "Ready".
            self.later(partial(self._tell, self._begun))

        def each(token: Token, emit: Callable[[Show], None]) -> None:
            for show in work(token):
                emit(show)

        self._runner(name, pool).submit(
            each,
            lambda show: show(),
            lambda sentence: (self.status.set_error(name, sentence), clear()),
            lambda what, share: self.status.set_busy(name, what, share),
            lambda: (self.status.set_done(name), done()),
        )

    def _tell(self, begun: list[tuple[str, Show]]) -> None:
        """Dim what is computed anew, and say that it is under way."""
        if begun is self._begun:
            self._begun = []
        for _, wait in begun:
            wait()
        self.status.begin([name for name, _ in begun])

    def _runner(self, name: str, pool: FairPool) -> LatestWins:
        if name not in self._runners:
            self._runners[name] = LatestWins(self.later, pool)
        return self._runners[name]

    def stop(self, name: str) -> None:
        """Cancel the job of an output that is no longer shown."""
        if name in self._runners:
            self._runners[name].cancel()
        self._begun = []  # what begins after this is told after it
        # Through the same queue as earlier reports, so that it comes last.
        self.later(lambda: (self.status.set_done(name), self.status.set_error(name, "")))

    def stop_all(self) -> None:
        """Cancel all work under way; any change of a choice starts it again."""
        for name in self._runners.keys() & self.status.busy.keys():
            self._asked.pop(name, None)
            self.stop(name)
        self.later(lambda: self.status.param.update(stopped=True))

    def complain(self, name: str, sentence: str) -> None:
        """Show an error by that name; an empty sentence takes it back."""
        self.status.set_error(name, sentence)

    def leave(self) -> None:
        """End all work, and drop the visitor's files, since the visitor is gone."""
        self.later.end()
        while self.leaving:
            self.leaving.pop()()
        for runner in self._runners.values():
            runner.cancel()
        self.uploads.files.close()
