"""RDN (Zhang et al. 2018, arXiv 1802.08797) with the parameter names of EDSR-PyTorch's checkpoints."""

from __future__ import annotations

import torch
from torch import nn

from core.models.state_dict import STAGES, SavedRange, ends_of, numbered, require, scale_of


class DenseConv(nn.Module):
    """conv - ReLU, its output appended to its input."""

    def __init__(self, n_in: int, growth: int):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(n_in, growth, 3, padding=1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, self.conv(x)), 1)


class ResidualDenseBlock(nn.Module):
    """Dense convs, a 1x1 fusion of all they made (LFF), and the input added."""

    def __init__(self, n_feats: int, growth: int, n_convs: int):
        super().__init__()
        self.convs = nn.Sequential(*(DenseConv(n_feats + c * growth, growth) for c in range(n_convs)))
        self.LFF = nn.Conv2d(n_feats + n_convs * growth, n_feats, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.LFF(self.convs(x)) + x


class RDN(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    The defaults are the authors' network B. `rgb_range` is the range the features were trained on; no
    mean is subtracted. With `colours` 1 it takes and gives luma, (N, 1, H, W).
    """

    about = "Dense blocks: a conv reads the outputs of all convs before it at once, each with its own range."
    scope_in_words = "every conv of the dense blocks, both fusions, as DFSQ (arXiv 2305.05888, sec. 4.1)"

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 16,
        n_convs: int = 8,
        growth: int = 64,
        n_feats: int = 64,
        rgb_range: float = 255.0,
        colours: int = 3,
    ):
        super().__init__()
        if scale not in STAGES:
            raise ValueError(f"scale must be 2, 3 or 4, got {scale}")
        self.scale = scale
        self.rgb_range = SavedRange(rgb_range)
        self.SFENet1 = nn.Conv2d(colours, n_feats, 3, padding=1)
        self.SFENet2 = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.RDBs = nn.ModuleList(ResidualDenseBlock(n_feats, growth, n_convs) for _ in range(n_blocks))
        fusion = nn.Conv2d(n_blocks * n_feats, n_feats, 1)
        self.GFF = nn.Sequential(fusion, nn.Conv2d(n_feats, n_feats, 3, padding=1))
        layers: list[nn.Module] = []
        for factor in STAGES[scale]:
            n_in = growth if layers else n_feats
            layers += [nn.Conv2d(n_in, growth * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
        self.UPNet = nn.Sequential(*layers, nn.Conv2d(growth, colours, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.SFENet1(self.rgb_range.enter(x))
        x = self.SFENet2(first)
        dense = []
        for block in self.RDBs:
            x = block(x)
            dense.append(x)
        x = self.GFF(torch.cat(dense, 1)) + first
        return self.rgb_range.leave(self.UPNet(x))

    def quantized_scope(self, name: str, module: nn.Module) -> bool:
        """Whether `scope_in_words` names it."""
        return isinstance(module, nn.Conv2d) and name.startswith(("RDBs.", "GFF."))

    @classmethod
    def from_state(cls, state: dict[str, torch.Tensor]) -> RDN:
        """The untrained network that the tensors fit; KeyError names what is missing."""
        n_feats, colours = ends_of(state, "SFENet1.weight")
        growth = require(state, "RDBs.0.convs.0.conv.0.weight").shape[0]
        scale = scale_of(state, "UPNet.0.weight", growth, twice="UPNet.4.weight")
        return cls(
            scale,
            numbered(state, r"RDBs\.(\d+)\.LFF\.weight"),
            numbered(state, r"RDBs\.0\.convs\.(\d+)\.conv\.0\.weight"),
            growth,
            n_feats,
            SavedRange.of(state),
            colours,
        )
