"""What a process that the dashboard starts does first."""

import os
import signal
import threading


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
