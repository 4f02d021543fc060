"""Where a command computes."""

from __future__ import annotations

import argparse

import torch


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device to a command: a GPU where there is one, else the CPU."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def use_device(name: str, exact: bool = True) -> torch.device:
    """Return the device of that name; ValueError for one that cannot be used.

    exact: a GPU computes convolutions in whole float32. Else it rounds their inputs to 10 bits (TF32) and
    takes the algorithms that are quickest there: enough to train by, but values would change their levels.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} cannot be used here; choose cpu ({error})") from error
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = not exact
    return device
