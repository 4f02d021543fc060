"""The old way to `python -m core sweep`; goes with the next version."""

from core.commands.sweep import main

if __name__ == "__main__":  # a worker process imports it too
    main()
