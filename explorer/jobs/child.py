"""What a process that the dashboard starts does first, and what is said of its end."""

import os
import signal
import threading
from pathlib import Path


def step_back(stop: signal.Signals) -> None:
    """Leave the processor to the dashboard, and raise the signal `stop` when nobody holds our input open.

    So long work never outlives the server, or the visitor, that started it, whatever becomes of them.
    """

    def watch() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock the interpreter needs when it ends
            pass
        os.kill(os.getpid(), stop)

    os.nice(5)
    threading.Thread(target=watch, daemon=True).start()


def ended(what: str, returncode: int, log: Path, kept: bool) -> str:
    """Why it ended before its time, in a sentence. kept: whether it can go on from where it was."""
    way_on = "Start goes on from what was kept" if kept else "start it again"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    if returncode < 0 or not lines:
        return f"The {what} was killed, as the system does when memory is short; {way_on}."
    return f"The {what} stopped: {lines[-1].strip()[:300]}"
