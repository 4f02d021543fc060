"""The old way to `python -m core train`; goes with the next version."""

from core.commands.train import main

main()
