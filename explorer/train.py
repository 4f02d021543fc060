"""`python -m explorer.train`: `core.odm` in a process of its own; its state is saved when it is stopped."""

import signal

from core.odm import main
from explorer.child import step_back

if __name__ == "__main__":
    step_back(signal.SIGTERM)
    main()
