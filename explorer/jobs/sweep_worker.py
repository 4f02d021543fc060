"""`python -m explorer.jobs.sweep_worker FOLDER`: the sweep of FOLDER/_grid.yaml, in a process of its own.

It prints its progress, saves its rows in FOLDER, and ends when its stdin is closed: a sweep never outlives
the server, and continues when it is started again.
"""

import signal
import sys
from pathlib import Path

from core.sweep.grid_file import load_grid
from core.sweep.run import sweep
from explorer.jobs.child import run_below_parent

GRID = "_grid.yaml"


def main() -> int:
    """Run the sweep; return the exit status."""
    folder = Path(sys.argv[1])
    printed = None

    def progress(done: int, total: int) -> None:
        nonlocal printed
        if (done, total) != printed:
            printed = done, total
            print(done, total, flush=True)

    try:
        grid, images = load_grid(folder / GRID)
        sweep(grid, images, out=folder, progress=progress)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    run_below_parent(signal.SIGINT)
    sys.exit(main())
