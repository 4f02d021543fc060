"""`python -m explorer.jobs.training_worker`: `core.commands.odm` in a process that saves its state."""

import signal

from core.commands.odm import main
from explorer.jobs.child import run_below_parent

if __name__ == "__main__":
    run_below_parent(signal.SIGTERM)
    main()
