"""What the commands share: the option of the checkpoints that they load, and warnings as sentences."""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Iterator


def add_res_scale(parser: argparse.ArgumentParser) -> None:
    """Add --res-scale to a command that loads checkpoints."""
    parser.add_argument(
        "--res-scale",
        type=float,
        help="what the residual blocks of EDSR checkpoints are multiplied by, which their files do not say",
    )


@contextlib.contextmanager
def warnings_as_sentences(program: str) -> Iterator[None]:
    """Print warnings for the user as one sentence after the command's name, without a line of code."""
    usual = warnings.formatwarning

    def sentence(message, category, *place) -> str:
        if issubclass(category, UserWarning):
            return f"{program}: {message}\n"
        return usual(message, category, *place)

    warnings.formatwarning = sentence
    try:
        yield
    finally:
        warnings.formatwarning = usual
