"""The device that a command computes on."""

from __future__ import annotations

import argparse

import torch


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option --device to a command; the default is a GPU where there is one, else the CPU."""
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="by default CUDA's first where there is one",
    )


def use_device(name: str, exact: bool = True) -> torch.device:
    """Return the named device and set how exactly a GPU computes; ValueError if it cannot be used.

    exact: convolutions on a GPU keep full float32. Otherwise they round their inputs to TF32 (a mantissa of
    10 bits) and use the fastest algorithms: good enough for training, but activations would land on other
    levels.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} cannot be used here; choose cpu ({error})") from error
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = not exact
    return device
