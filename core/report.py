"""The former path of `core.commands.report`; it goes with the next version."""

from core.commands.report import main

if __name__ == "__main__":
    main()
