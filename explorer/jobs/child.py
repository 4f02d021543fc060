"""Processes that the dashboard starts: how they begin, end with it, and what is said of their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A Python module in a process of its own, which ends when this one does.

    `what` it does, for people. log: the file of its errors; out: of what it prints. environment: variables
    that are set for it.
    """

    def __init__(
        self, what: str, module: str, *arguments: str, log: Path, out: Path | None = None, **environment: str
    ):
        self._what, self._log = what, log
        with log.open("w") as errors, (out or Path(os.devnull)).open("w") as printed:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=errors,
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to keep what is done and to end (`run_below_parent` in it hears that)."""
        self._process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()

    def problem(self, kept: bool) -> str:
        """Say what ended it before its time; empty if nothing did. kept: as for `describe_exit`."""
        if self.alive or self._process.returncode == 0:
            return ""
        return describe_exit(self._what, self._process.returncode, self._log, kept)


def run_below_parent(stop: signal.Signals) -> None:
    """Leave the processor to the dashboard, and raise the signal `stop` when nobody holds our input open.

    So long work never outlives the server, or the visitor, that started it, whatever becomes of them.
    """

    def watch() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock the interpreter needs when it ends
            pass
        os.kill(os.getpid(), stop)

    os.nice(5)
    threading.Thread(target=watch, daemon=True).start()


def describe_exit(what: str, returncode: int, log: Path, kept: bool) -> str:
    """Say why it ended before its time. kept: whether it can go on from where it was."""
    way_on = "Start goes on from what was kept" if kept else "start it again"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    if returncode < 0 or not lines:
        return f"The {what} was killed, as the system does when memory is short; {way_on}."
    return f"The {what} stopped: {lines[-1].strip()[:300]}"
