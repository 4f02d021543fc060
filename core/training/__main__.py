"""The former way to run `python -m core train`; it goes with the next version."""

from core.commands.train import main

if __name__ == "__main__":
    main()
