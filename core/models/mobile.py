"""Mobile networks whose output is clipped to [0, 1]: the case that CFQP is about."""

from __future__ import annotations

import copy

import torch
from torch import nn

from core.models.state_dict import numbered, require

INT8_SCOPE = "every conv, as a mobile engine runs it (CFQP, arXiv 2308.11365)"


class ConvReLU(nn.Module):
    """conv - ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()


class GBlock(nn.Module):
    """Grouped 3x3 conv - ReLU - 1x1 conv that mixes the groups."""

    def __init__(self, n_feats: int, groups: int):
        super().__init__()
        self.conv0 = nn.Conv2d(n_feats, n_feats, 3, padding=1, groups=groups)
        self.conv1 = nn.Conv2d(n_feats, n_feats, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1(self.conv0(x).relu())


class XLSR(nn.Module):
    """XLSR (Ayazoglu 2021, arXiv 2105.10288): (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), clipped.

    Parameter names as in the public reimplementation cxzhou95/XLSR.
    """

    about = "Grouped convs and a clip to [0, 1] at the end: made for INT8 on a phone."
    scope_in_words = INT8_SCOPE

    def __init__(self, scale: int = 3):
        super().__init__()
        self.scale = scale
        for branch in range(4):
            self.add_module(f"conv0_{branch}", ConvReLU(3, 8, 3))
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 32, 1)
        self.Gblocks = nn.Sequential(*(GBlock(32, 4) for _ in range(3)))
        self.conv3 = ConvReLU(48, 32, 1)
        self.conv4 = nn.Conv2d(32, 3 * scale**2, 3, padding=1)
        # An untrained output near 0 would lie half below the clip, where no gradient passes.
        nn.init.constant_(self.conv4.bias, 0.5)
        self.clip = nn.Hardtanh(0.0, 1.0)
        self.upscale = nn.PixelShuffle(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = (self.conv0_0, self.conv0_1, self.conv0_2, self.conv0_3)
        features = self.Gblocks(self.conv2(torch.cat([branch(x) for branch in branches], 1)))
        features = self.conv3(torch.cat((features, self.conv1(x)), 1))
        return self.upscale(self.clip(self.conv4(features)))

    def quantized_scope(self, name: str, module: nn.Module) -> bool:
        """Whether `scope_in_words` names it."""
        return isinstance(module, nn.Conv2d)

    @classmethod
    def from_state(cls, state: dict[str, torch.Tensor]) -> XLSR:
        """The untrained network that the tensors fit; KeyError names what is missing."""
        return cls(round((require(state, "conv4.weight").shape[0] / 3) ** 0.5))


class ABPN(nn.Module):
    """ABPN (Du et al. 2021, arXiv 2105.09750): (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), clipped.

    Plain 3x3 convs learn what the nearest-neighbour upscale (the anchor) lacks.
    """

    about = "Learns what nearest-neighbour upscaling lacks, then clips to [0, 1]: made for INT8 on a phone."
    scope_in_words = INT8_SCOPE

    def __init__(self, scale: int = 3, n_convs: int = 4, n_feats: int = 28):
        super().__init__()
        self.scale = scale
        n_out = 3 * scale**2
        self.head = ConvReLU(3, n_feats, 3)
        self.body = nn.Sequential(*(ConvReLU(n_feats, n_feats, 3) for _ in range(n_convs)))
        self.tail = nn.Sequential(ConvReLU(n_feats, n_out, 3), nn.Conv2d(n_out, n_out, 3, padding=1))
        self.clip = nn.Hardtanh(0.0, 1.0)
        self.upscale = nn.PixelShuffle(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        anchor = x.repeat_interleave(self.scale**2, dim=1)
        return self.upscale(self.clip(self.tail(self.body(self.head(x))) + anchor))

    def quantized_scope(self, name: str, module: nn.Module) -> bool:
        """Whether `scope_in_words` names it."""
        return isinstance(module, nn.Conv2d)

    @classmethod
    def from_state(cls, state: dict[str, torch.Tensor]) -> ABPN:
        """The untrained network that the tensors fit; KeyError names what is missing."""
        scale = round((require(state, "tail.1.weight").shape[0] / 3) ** 0.5)
        n_feats = require(state, "head.conv.weight").shape[0]
        return cls(scale, numbered(state, r"body\.(\d+)\.conv\.weight"), n_feats)


def has_clip(model: nn.Module) -> bool:
    """Whether the network clips its output, in a way that `without_clip` can undo."""
    return isinstance(getattr(model, "clip", None), nn.Hardtanh)


def without_clip(model: nn.Module) -> nn.Module:
    """A copy whose clip at the end is taken out; ValueError if the network has none."""
    if not has_clip(model):
        raise ValueError(f"{type(model).__name__} has no clip at its end; XLSR and ABPN have one")
    free = copy.deepcopy(model)
    free.clip = nn.Identity()
    return free
