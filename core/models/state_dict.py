"""What the shapes and names of a checkpoint's tensors say about the network they belong to."""

from __future__ import annotations

import re

import torch
from torch import nn

State = dict[str, torch.Tensor]
STAGES = {2: (2,), 3: (3,), 4: (2, 2)}  # scale -> the factors of its pixel shuffles


def reason(error: Exception) -> str:
    """What an error says, as a part of a sentence; of load_state_dict's the first complaint."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    line = lines[1] if lines[0].startswith("Error(s) in loading") and len(lines) > 1 else lines[0]
    return line.rstrip(".;:") if len(line) <= 200 else f"{line[:200]} …"


def require(state: State, name: str) -> torch.Tensor:
    """The tensor of that name, with 4 dimensions; KeyError says that it is missing or is no conv's."""
    if name not in state:
        raise KeyError(f"{name} is missing")
    if state[name].ndim != 4:
        raise KeyError(f"{name} must have 4 dimensions, has {state[name].ndim}")
    return state[name]


def ends_of(state: State, first: str) -> tuple[int, int]:
    """The features and the colours, 1 or 3, of the conv that takes the image; ValueError for others."""
    n_feats, colours = require(state, first).shape[:2]
    if colours not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, and {first} takes {colours}")
    return n_feats, colours


def numbered(state: State, pattern: str) -> int:
    """How many different numbers the group of `pattern` takes among the tensors' names."""
    return len({m[1] for name in state if (m := re.fullmatch(pattern, name))})


def scale_of(state: State, name: str, n_feats: int, twice: str) -> int:
    """The scale of an upsampler whose first conv is `name`; 4 if the tensor `twice` exists."""
    return 4 if twice in state else round((require(state, name).shape[0] / n_feats) ** 0.5)


class SavedRange(nn.Module):
    """The range of pixels a network was trained on, saved with its weights.

    Public checkpoints do not say it: EDSR-PyTorch and its descendants train on 0-255.
    """

    def __init__(self, value: float):
        super().__init__()
        self.register_buffer("value", torch.tensor(float(value)))

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """[0, 1] -> the range inside."""
        return x * self.value

    def leave(self, x: torch.Tensor) -> torch.Tensor:
        """The range inside -> [0, 1]."""
        return x / self.value

    @staticmethod
    def of(state: State) -> float:
        """What the tensors say: a saved value, the size of a mean shift, else 255; ValueError if no range."""
        if "rgb_range.value" in state:
            value = state["rgb_range.value"]
            if value.numel() != 1 or value.item() <= 0:
                raise ValueError("rgb_range.value must be one positive number")
            return float(value)
        shift = state.get("sub_mean.bias")
        return 1.0 if shift is not None and 0 < float(shift.abs().max()) <= 1 else 255.0
