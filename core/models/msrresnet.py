"""MSRResNet, the modified SRResNet of ESRGAN's authors (Wang et al. 2018), with BasicSR's parameter names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from core.models.state_dict import STAGES, ends_of, numbered, scale_of

SLOPE = 0.1  # of the leaky ReLUs, in the authors' code


class PlainBlock(nn.Module):
    """conv - ReLU - conv, added to the input."""

    residual_block = True

    def __init__(self, n_feats: int):
        super().__init__()
        self.conv1 = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.conv2 = nn.Conv2d(n_feats, n_feats, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(x).relu())


class MSRResNet(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped: what bilinear upscaling lacks.

    The defaults are the authors' size. With `colours` 1 it takes and gives luma, (N, 1, H, W).
    """

    about = "Residual blocks without BatchNorm that learn what bilinear upscaling lacks."
    scope_in_words = "the two convs of every residual block, as DFSQ (arXiv 2305.05888, sec. 4.1)"
    features_into = "upconv1"  # the module that receives the features

    def __init__(self, scale: int = 4, n_blocks: int = 16, n_feats: int = 64, colours: int = 3):
        super().__init__()
        if scale not in STAGES:
            raise ValueError(f"scale must be 2, 3 or 4, got {scale}")
        self.scale = scale
        self.conv_first = nn.Conv2d(colours, n_feats, 3, padding=1)
        self.body = nn.Sequential(*(PlainBlock(n_feats) for _ in range(n_blocks)))
        for stage, factor in enumerate(STAGES[scale], 1):
            up = nn.Conv2d(n_feats, factor**2 * n_feats, 3, padding=1)
            self.add_module(f"upconv{stage}", up)
        self.conv_hr = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.conv_last = nn.Conv2d(n_feats, colours, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(F.leaky_relu(self.conv_first(x), SLOPE))
        for stage, factor in enumerate(STAGES[self.scale], 1):
            y = F.leaky_relu(F.pixel_shuffle(self.get_submodule(f"upconv{stage}")(y), factor), SLOPE)
        y = self.conv_last(F.leaky_relu(self.conv_hr(y), SLOPE))
        return y + F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)

    def quantized_scope(self, name: str, module: nn.Module) -> bool:
        """Whether `scope_in_words` names it."""
        return isinstance(module, nn.Conv2d) and name.startswith("body.")

    @classmethod
    def from_state(cls, state: dict[str, torch.Tensor]) -> MSRResNet:
        """The untrained network that the tensors fit; KeyError names what is missing."""
        n_feats, colours = ends_of(state, "conv_first.weight")
        return cls(
            scale_of(state, "upconv1.weight", n_feats, twice="upconv2.weight"),
            numbered(state, r"body\.(\d+)\.conv1\.weight"),
            n_feats,
            colours,
        )
