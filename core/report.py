"""The old path of `core.commands.report`; goes with the next version."""

from core.commands.report import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
