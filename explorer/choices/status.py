"""The progress of the work under way, and its errors, as the page shows them."""

from __future__ import annotations

import time
from collections.abc import Collection

import param

MIN_REPORT_INTERVAL = 0.2  # seconds between two reports of progress: each of them is drawn


class Status(param.Parameterized):
    """Progress and error of every output, kept apart so that outputs do not block each other."""

    busy = param.Dict({}, doc="output -> (what is being done, share done; None while it waits)")
    stopped = param.Boolean(False, doc="Whether a person stopped what was under way last")
    errors = param.Dict({}, doc="output -> one sentence")

    _drawn = 0.0
    _since = 0.0  # when something was begun while nothing else was under way

    def begin(self, outputs: Collection[str]) -> None:
        """Report that these outputs are being computed, and take their errors back."""
        self._note_start()
        self.param.update(
            stopped=False,
            busy=self.busy | dict.fromkeys(outputs, ("", 0.0)),
            errors={k: v for k, v in self.errors.items() if k not in outputs},
        )

    def set_busy(self, output: str, what: str, share: float | None) -> None:
        """Report what an output computes and the share done; reports in quick succession are skipped."""
        if share is not None and output in self.busy and time.monotonic() - self._drawn < MIN_REPORT_INTERVAL:
            return
        self._drawn = time.monotonic()
        self._note_start()
        self.stopped = False
        self.busy = self.busy | {output: (what, share)}

    def _note_start(self) -> None:
        self._since = self._since if self.busy else time.monotonic()

    def seconds(self) -> float:
        """Return for how long something has been under way."""
        return time.monotonic() - self._since if self.busy else 0.0

    def set_done(self, output: str) -> None:
        """Report that an output is shown."""
        self.busy = {k: v for k, v in self.busy.items() if k != output}

    def set_error(self, output: str, sentence: str) -> None:
        """Show an error of an output; an empty sentence takes it back."""
        rest = {k: v for k, v in self.errors.items() if k != output}
        self.errors = rest | ({output: sentence} if sentence else {})
