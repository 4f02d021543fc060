"""SRResNet (Ledig et al. 2017, arXiv 1609.04802) with the parameter names of DAQ's checkpoints."""

from __future__ import annotations

import torch
from torch import nn

from core.models.state_dict import SavedRange, ends_of, numbered


def conv(n_in: int, n_out: int, kernel: int) -> nn.Conv2d:
    """BatchNorm has the bias."""
    return nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)


class BatchNormBlock(nn.Module):
    """conv - BatchNorm - ReLU - conv - BatchNorm, added to the input; DFSQ and the paper have a PReLU."""

    residual_block = True

    def __init__(self, n_feats: int, slopes: int):
        super().__init__()
        self.conv1, self.bn1 = conv(n_feats, n_feats, 3), nn.BatchNorm2d(n_feats)
        self.act = nn.PReLU(slopes) if slopes else nn.ReLU(True)
        self.conv2, self.bn2 = conv(n_feats, n_feats, 3), nn.BatchNorm2d(n_feats)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))


class SRResNet(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, 3, 4*H, 4*W), not clamped; x2 has one upsampling stage instead of two.

    The defaults are the authors' size. `rgb_range` is the range the features were trained on. The
    BatchNorms fold into the convs with `core.fold_batchnorm`. `slopes` is how many numbers the PReLU of
    each block has; 0 is a ReLU. With `colours` 1 it takes and gives luma, (N, 1, H, W).
    """

    about = "BatchNorm in every residual block, but the sums between the blocks are not normalized."
    scope_in_words = "the two convs of every residual block, as DFSQ and DAQ (arXiv 2305.05888, sec. 4.1)"
    features_into = "tail"  # the module that receives the features

    def __init__(
        self,
        scale: int = 4,
        n_blocks: int = 16,
        n_feats: int = 64,
        rgb_range: float = 255.0,
        slopes: int = 0,
        colours: int = 3,
    ):
        super().__init__()
        if scale not in (2, 4):
            raise ValueError(f"SRResNet's scale must be 2 or 4, got {scale}")
        self.scale = scale
        self.rgb_range = SavedRange(rgb_range)
        self.head = nn.Sequential(conv(colours, n_feats, 9), nn.PReLU())
        blocks = [BatchNormBlock(n_feats, slopes) for _ in range(n_blocks)]
        self.body = nn.Sequential(*blocks, conv(n_feats, n_feats, 3), nn.BatchNorm2d(n_feats))
        stage = lambda: [conv(n_feats, 4 * n_feats, 3), nn.PixelShuffle(2), nn.PReLU()]  # noqa: E731
        upsampler = nn.Sequential(*(layer for _ in range(scale // 2) for layer in stage()))
        self.tail = nn.Sequential(upsampler, conv(n_feats, colours, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.rgb_range.enter(x))
        return self.rgb_range.leave(self.tail(x + self.body(x)))

    def quantized_scope(self, name: str, module: nn.Module) -> bool:
        """Whether `scope_in_words` names it."""
        return isinstance(module, nn.Conv2d) and name.endswith((".conv1", ".conv2"))

    @classmethod
    def from_state(cls, state: dict[str, torch.Tensor]) -> SRResNet:
        """The untrained network that the tensors fit; KeyError names what is missing."""
        n_feats, colours = ends_of(state, "head.0.weight")
        scale = 4 if "tail.0.3.weight" in state else 2
        blocks = numbered(state, r"body\.(\d+)\.conv1\.weight")
        slopes = state["body.0.act.weight"].numel() if "body.0.act.weight" in state else 0
        return cls(scale, blocks, n_feats, SavedRange.of(state), slopes, colours)
