"""`python -m core COMMAND`: reports, training, sweeps, deployment. `python -m core` lists the commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

# command -> what it does, as the list says it; each is core.commands' module of that name
COMMANDS = {
    "report": "every method under one protocol: one table as CSV and HTML",
    "results": "the rows of a report as Markdown tables",
    "sweep": "every configuration of a grid on every image",
    "train": "train one of the bundled architectures in float",
    "odm": "train a quantized network with ODM or PAMS",
    "odm-table": "trainings side by side: the mean over seeds",
    "cfqp": "what a clip costs in INT8, and what makes it unnecessary",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names; each says what it takes with --help."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in COMMANDS:
        importlib.import_module(f"core.commands.{command.replace('-', '_')}").main(rest)
        return
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {does}" for name, does in COMMANDS.items()]
    usage = "\n".join(["python -m core COMMAND [--help], where COMMAND is one of", *lines])
    if command in ("-h", "--help"):
        print(usage)
        return
    print(f"there is no command {command!r}\n\n{usage}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
