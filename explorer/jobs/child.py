"""Processes that the dashboard starts, which end with it, and why one ended."""

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

    what: the name of its work, for people. log: the file of its errors; out: of what it prints. environment:
    variables that are set for it.
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
        """Whether the process runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask the process to save its work and end: `run_below_parent` notices the closed stdin."""
        self._process.stdin.close()

    def kill(self) -> None:
        """Kill the process at once."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()

    def problem(self, kept: bool) -> str:
        """Say why the process ended early; empty if it did not. kept: as for `describe_exit`."""
        if self.alive or self._process.returncode == 0:
            return ""
        return describe_exit(self._what, self._process.returncode, self._log, kept)


def run_below_parent(stop: signal.Signals) -> None:
    """Lower this process's priority, and send it `stop` when its parent closes stdin or dies.

    So long work never outlives the server, or the visitor, that started it.
    """

    def watch() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock the interpreter needs when it ends
            pass
        os.kill(os.getpid(), stop)

    os.nice(5)
    threading.Thread(target=watch, daemon=True).start()


def describe_exit(what: str, returncode: int, log: Path, kept: bool) -> str:
    """Say why a process ended early. kept: whether it can continue from where it was."""
    way_on = "start it again to continue" if kept else "start it again"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    if returncode < 0 or not lines:
        return f"The {what} was killed, probably because memory ran out; {way_on}."
    return f"The {what} stopped: {lines[-1].strip()[:300]}"
