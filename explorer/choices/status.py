"""What the page says of the work under way, and of what went wrong."""

from __future__ import annotations

import time

import param

MIN_REPORT_INTERVAL = 0.2  # seconds between two reports of progress: each of them is drawn


class Status(param.Parameterized):
    """By output, so that no one waits for another."""

    busy = param.Dict({}, doc="output -> (what is being done, share done; None while it waits)")
    stopped = param.Boolean(False, doc="Whether a person stopped what was under way last")
    errors = param.Dict({}, doc="output -> one sentence")

    _drawn = 0.0

    def set_busy(self, output: str, what: str, share: float | None) -> None:
        if share is not None and output in self.busy and time.monotonic() - self._drawn < MIN_REPORT_INTERVAL:
            return
        self._drawn = time.monotonic()
        self.stopped = False
        self.busy = self.busy | {output: (what, share)}

    def set_done(self, output: str) -> None:
        self.busy = {k: v for k, v in self.busy.items() if k != output}

    def set_error(self, output: str, sentence: str) -> None:
        rest = {k: v for k, v in self.errors.items() if k != output}
        self.errors = rest | ({output: sentence} if sentence else {})
