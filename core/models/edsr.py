"""EDSR (Lim et al. 2017, arXiv 1707.02921) with the parameter names of the authors' checkpoints."""

from __future__ import annotations

import torch
from torch import nn

from core.models.state import SavedRange, numbered, require, scale_of

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, as the authors subtract it


class MeanShift(nn.Conv2d):
    """Subtract (sign -1) or add (sign +1) the mean colour of the training data, as a fixed 1x1 conv."""

    def __init__(self, rgb_range: float, sign: int):
        super().__init__(3, 3, kernel_size=1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = sign * rgb_range * torch.tensor(RGB_MEAN)
        self.requires_grad_(False)


class ResBlock(nn.Module):
    """conv - ReLU - conv, scaled and added to the input."""

    residual_block = True

    def __init__(self, n_feats: int, res_scale: float):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_feats, n_feats, 3, padding=1),
            nn.ReLU(True),
            nn.Conv2d(n_feats, n_feats, 3, padding=1),
        )
        self.res_scale = res_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) * self.res_scale


def upsampler(scale: int, n_feats: int) -> nn.Sequential:
    """Convs and pixel shuffles: one stage for x2 and x3, two for x4."""
    stages = {2: (2,), 3: (3,), 4: (2, 2)}
    if scale not in stages:
        raise ValueError(f"scale must be 2, 3 or 4, got {scale}")
    layers: list[nn.Module] = []
    for factor in stages[scale]:
        layers += [nn.Conv2d(n_feats, factor**2 * n_feats, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


class EDSR(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    The defaults are the authors' baseline. `rgb_range` is the range the features were trained on: 255
    in the authors' checkpoints; it lives inside, as do the mean shift and `res_scale`.
    """

    about = "Residual blocks without BatchNorm: nothing keeps the ranges of the channels alike."
    scope_in_words = "the two convs of every residual block, as DFSQ (arXiv 2305.05888, sec. 4.1)"
    features_into = "tail"  # the module that receives the features

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 16,
        n_feats: int = 64,
        res_scale: float = 1.0,
        rgb_range: float = 255.0,
    ):
        super().__init__()
        self.scale, self.rgb_range = scale, rgb_range
        self.sub_mean = MeanShift(rgb_range, -1)
        self.add_mean = MeanShift(rgb_range, +1)
        self.head = nn.Sequential(nn.Conv2d(3, n_feats, 3, padding=1))
        blocks = [ResBlock(n_feats, res_scale) for _ in range(n_blocks)]
        self.body = nn.Sequential(*blocks, nn.Conv2d(n_feats, n_feats, 3, padding=1))
        self.tail = nn.Sequential(upsampler(scale, n_feats), nn.Conv2d(n_feats, 3, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.sub_mean(x * self.rgb_range))
        x = self.tail(x + self.body(x))
        return self.add_mean(x) / self.rgb_range

    def quantized_scope(self, name: str, module: nn.Module) -> bool:
        """Whether `scope_in_words` names it."""
        return isinstance(module, nn.Conv2d) and name.startswith("body.") and ".body." in name

    @classmethod
    def from_state(cls, state: dict[str, torch.Tensor]) -> EDSR:
        """The untrained network that the tensors fit; KeyError names what is missing."""
        n_feats = require(state, "head.0.weight").shape[0]
        return cls(
            scale_of(state, "tail.0.0.weight", n_feats, twice="tail.0.2.weight"),
            numbered(state, r"body\.(\d+)\.body\.0\.weight"),
            n_feats,
            res_scale=0.1 if n_feats >= 256 else 1.0,  # the authors' large network; not stored in the file
            rgb_range=SavedRange.of(state),
        )
