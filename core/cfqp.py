"""The old path of `core.commands.cfqp`; goes with the next version."""

from core.commands.cfqp import _arguments, _inputs, main

__all__ = ["_arguments", "_inputs", "main"]

if __name__ == "__main__":
    main()
