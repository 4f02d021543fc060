"""EDSR (Lim et al. 2017, arXiv 1707.02921) with the parameter names of the authors' checkpoints."""

from __future__ import annotations

import math

import torch
from torch import nn

from core.models.state_dict import STAGES, SavedRange, ends_of, numbered, scale_of

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, as the authors subtract it
UNSEEN = "_extra_state"  # PyTorch's key for extra state: here res_scale and rgb_range, which no tensor shows


class MeanShift(nn.Conv2d):
    """A fixed 1x1 conv that subtracts (sign -1) or adds (sign +1) the mean colour of the training data."""

    def __init__(self, rgb_range: float, sign: int, mean: tuple[float, ...] = RGB_MEAN):
        super().__init__(len(mean), len(mean), kernel_size=1)
        # Without torch.eye and a tensor on the device meta, for which torch imports its compiler: 3 s.
        nn.init.dirac_(self.weight)  # the identity
        self.requires_grad_(False)
        self.bias.copy_(sign * rgb_range * torch.tensor(mean, device="cpu"))


class ResBlock(nn.Module):
    """A residual block: conv - ReLU - conv, multiplied by `res_scale` and added to the input."""

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
        """Return the block's output, of x's shape."""
        return x + self.body(x) * self.res_scale


def upsampler(scale: int, n_feats: int) -> nn.Sequential:
    """Return convs and pixel shuffles: one stage for x2 and x3, two for x4; ValueError for another scale."""
    if scale not in STAGES:
        raise ValueError(f"scale must be 2, 3 or 4, got {scale}")
    layers: list[nn.Module] = []
    for factor in STAGES[scale]:
        layers += [nn.Conv2d(n_feats, factor**2 * n_feats, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


class EDSR(nn.Module):
    """EDSR: (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    The defaults are the authors' baseline. `rgb_range` is the range of pixels that the features were trained
    on, 255 in the authors' checkpoints; the network converts inside and subtracts the mean there. The
    state_dict holds `res_scale` and `rgb_range` as its extra state. With `colours` 1 it takes and gives luma,
    (N, 1, H, W), and subtracts no mean.
    """

    about = "Residual blocks without BatchNorm: nothing keeps the ranges of the channels alike."
    scope_in_words = "the two convs of every residual block, as DFSQ (arXiv 2305.05888, sec. 4.1)"
    features_into = "tail"  # the module that receives the features
    guessed = False  # whether `from_state` had to guess res_scale

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 16,
        n_feats: int = 64,
        res_scale: float = 1.0,
        rgb_range: float = 255.0,
        colours: int = 3,
    ):
        super().__init__()
        self.scale, self.rgb_range, self.res_scale = scale, rgb_range, res_scale
        mean = RGB_MEAN if colours == 3 else (0.0,) * colours
        self.sub_mean = MeanShift(rgb_range, -1, mean)
        self.add_mean = MeanShift(rgb_range, +1, mean)
        self.head = nn.Sequential(nn.Conv2d(colours, n_feats, 3, padding=1))
        blocks = [ResBlock(n_feats, res_scale) for _ in range(n_blocks)]
        self.body = nn.Sequential(*blocks, nn.Conv2d(n_feats, n_feats, 3, padding=1))
        self.tail = nn.Sequential(upsampler(scale, n_feats), nn.Conv2d(n_feats, colours, 3, padding=1))
        self.register_load_state_dict_pre_hook(_complete)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the SR images (N, 3, scale*H, scale*W) of LR images (N, 3, H, W)."""
        x = self.head(self.sub_mean(x * self.rgb_range))
        x = self.tail(x + self.body(x))
        return self.add_mean(x) / self.rgb_range

    def quantized_scope(self, name: str, module: nn.Module) -> bool:
        """Return whether the layer is quantized by default (`scope_in_words`)."""
        return isinstance(module, nn.Conv2d) and name.startswith("body.") and ".body." in name

    def get_extra_state(self) -> torch.Tensor:
        """Return (2,): `res_scale` and `rgb_range`, which the other tensors do not show."""
        return torch.tensor([self.res_scale, self.rgb_range], device="cpu")

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Set what `get_extra_state` returned; ValueError unless it is two positive numbers."""
        if state.shape != (2,) or not all(0 < value < math.inf for value in state.tolist()):
            raise ValueError("res_scale and rgb_range must be positive numbers")
        res_scale, self.rgb_range = state.tolist()
        self.res_scale = float(f"{res_scale:.3g}")  # saved as float16, 0.1 is 0.09998
        for block in self.body:
            if isinstance(block, ResBlock):
                block.res_scale = self.res_scale

    @classmethod
    def from_state(cls, state: dict[str, torch.Tensor], res_scale: float | None = None) -> EDSR:
        """Return an untrained network of the tensors' sizes; KeyError names a missing tensor.

        If neither the tensors nor the argument give `res_scale`, it is the authors'. Without a mean shift in
        the file the range is 0 to 255.
        """
        n_feats, colours = ends_of(state, "head.0.weight")
        scale = scale_of(state, "tail.0.0.weight", n_feats, twice="tail.0.2.weight")
        blocks = numbered(state, r"body\.(\d+)\.body\.0\.weight")
        authors = 0.1 if n_feats >= 256 else 1.0  # 0.1 in their large network
        made = cls(scale, blocks, n_feats, authors, SavedRange.of(state), colours)
        if UNSEEN in state:
            made.set_extra_state(state[UNSEEN])
        if res_scale is not None:
            made.set_extra_state(torch.tensor([res_scale, made.rgb_range], device="cpu"))
        made.guessed = UNSEEN not in state and res_scale is None
        return made


def _complete(model: EDSR, state: dict, prefix: str, *_) -> None:
    """Add the network's own extra state to a state_dict without one, as files of other code are."""
    state.setdefault(prefix + UNSEEN, model.get_extra_state())
