"""Community architectures through spandrel, which `pip install .[zoo]` adds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from core.models.state import State


class Community(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W) by any network whose sides must be a multiple.

    The last rows and columns are repeated up to the size that the network takes.
    """

    def __init__(self, model: nn.Module, scale: int, multiple: int, minimum: int):
        super().__init__()
        self.model, self.scale, self.multiple, self.minimum = model, scale, multiple, minimum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, w = x.shape[-2:]
        down, right = (-max(n, self.minimum) % self.multiple + max(self.minimum - n, 0) for n in (h, w))
        if down or right:
            x = F.pad(x, (0, right, 0, down), "replicate")
        return self.model(x)[..., : h * self.scale, : w * self.scale]


def community_network(state: State) -> nn.Module | None:
    """What spandrel makes of the tensors; None without spandrel or where it knows no such network.

    ValueError for a network that is not for super-resolution of RGB images.
    """
    try:
        import spandrel
    except ImportError:
        return None
    try:
        found = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError:
        return None
    name = found.architecture.name
    if found.input_channels != 3 or found.output_channels != 3 or found.scale < 2:
        raise ValueError(f"holds {name}, which does not super-resolve RGB images")
    if found.size_requirements.square:
        raise ValueError(f"holds {name}, which takes square images alone")
    size = found.size_requirements
    return Community(found.model, found.scale, size.multiple_of, size.minimum).eval()
