"""The reading of a visitor's files, from the page to the state."""

from __future__ import annotations

import logging
from collections.abc import Callable

import param

from explorer.choices.catalog import without_truth
from explorer.choices.file_reading import FILE_MB, LIMITS
from explorer.choices.region import CENTRE
from explorer.choices.state import ExplorerState
from explorer.choices.status import Status
from explorer.choices.visitor_files import VisitorFiles, file_name, is_uploaded, kind_of, other_role
from explorer.jobs.latest import QUICK
from explorer.jobs.token import Token

log = logging.getLogger(__name__)
BUSY = "own"


class Uploads(param.Parameterized):
    """Reads files in threads, one after the other; `later(call)` queues a call on the document."""

    names = param.List([], doc="The files that are here")

    def __init__(self, state: ExplorerState, status: Status, later: Callable):
        super().__init__()
        self.state, self.files = state, VisitorFiles()
        self._status, self._later = status, later
        self._waiting = 0
        self.as_lr = False  # how the next image is taken

    def take(self, name: str, content: bytes) -> None:
        """Read a file and show it; a file that cannot be read is an error and changes nothing."""
        self._take(name, lambda: self.files.add(name, content))

    def rescale(self, name: str, res_scale: float) -> None:
        """Show a network with another `res_scale`, where its file does not say it."""
        self._take(name, lambda: self.files.rescale(name, res_scale))

    def _take(self, name: str, put: Callable[[], tuple[str, list[str]]]) -> None:
        self._waiting += 1
        self.complain("")
        self._status.set_busy(BUSY, f"Reading {name}", 0.0)

        def work() -> None:
            key, before, sentence = "", [], ""
            try:
                key, before = put()
            except ValueError as error:
                sentence = str(error)
            except Exception:
                log.exception("a file could not be read")
                sentence = f"{name} could not be read. {LIMITS}"
            self._later(lambda: self._done(key, before, sentence))
            self._later(self._rest)  # the page is not ready before what follows is under way

        QUICK.submit(self._later, Token(), work)

    def refuse(self, name: str, size: int) -> None:
        """Say that a file is too large to be sent."""
        self.complain(f"{name} has {size / 1e6:.0f} MB; the limit is {FILE_MB} MB, choose a smaller one")

    def complain(self, sentence: str) -> None:
        """Show an error; an empty sentence takes it back."""
        self._status.set_error(BUSY, sentence)

    def _done(self, key: str, before: list[str], sentence: str) -> None:
        self._waiting -= 1
        if sentence:
            self.complain(sentence)
            return
        self._offer()
        if before:  # the names are the same, and what is beside them may not be
            self.param.trigger("names")
        if kind_of(key) == "network":
            self.state.network = key
        else:
            self.state.param.update(image=other_role(key) if self.as_lr else key, region=CENTRE)
        self.files.delete(before)

    def _rest(self) -> None:
        if not self._waiting:
            self._status.set_done(BUSY)

    def _offer(self) -> None:
        self.state.offer_uploads(self.files.labels("network"), self.files.labels("hr", "lr"))
        self.names = self.files.names()

    def remove(self, name: str) -> None:
        """Delete a file; where it is shown, a bundled one takes its place."""
        self.complain("")
        keys = self.files.hide(name)
        self._offer()
        self.files.delete(keys)

    def use_as(self, as_lr: bool) -> None:
        """Treat images from now on, and the one that is shown, as LR or as HR."""
        self.as_lr = as_lr
        image = self.state.image
        if not is_uploaded(image) or without_truth(image) == as_lr:
            return
        if (other := other_role(image)) in self.state.param.image.objects:
            self.state.image = other

    def missing(self, keys: list[str]) -> None:
        """Say that a link uses files that are not here."""
        names = list(dict.fromkeys(file_name(key) for key in keys))
        are, file = ("is", "the file") if len(names) == 1 else ("are", "them")
        self.complain(
            f"This link uses {' and '.join(names)}, which {are} not stored on this server; "
            f"load {file} under Your own image or network, or choose among the bundled ones"
        )
