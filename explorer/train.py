"""`python -m explorer.train`: `core.odm` in a process of its own, over when nobody holds its input open.

So a training never outlives its visitor or the server, whatever becomes of them; its state is saved.
"""

import os
import signal
import threading

from core.odm import main


def _stop_when_left() -> None:
    while os.read(0, 1):  # not through sys.stdin, whose lock the interpreter needs when it ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    os.nice(5)  # the dashboard comes first
    threading.Thread(target=_stop_when_left, daemon=True).start()
    main()
