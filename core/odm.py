"""The old path of `core.commands.odm`; goes with the next version."""

from core.commands.odm import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
