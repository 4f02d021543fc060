"""A wrapper that makes a network of luma one of RGB images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Luma(nn.Module):
    """RGB by a network of luma: (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W).

    The inner network gets BT.601 luma (N, 1, H, W) in [16, 235] / 255, as MATLAB's rgb2ycbcr and the field's
    training code have it. The colours come from bicubic upscaling (PyTorch's, a = -0.75), as is usual; the
    luma of the result is the network's output.
    """

    def __init__(self, model: nn.Module, scale: int):
        super().__init__()
        self.model, self.scale = model, scale
        weights = torch.tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1) / 255
        self.register_buffer("weights", weights, persistent=False)
        if hasattr(model, "quantized_scope"):
            self.quantized_scope, self.scope_in_words = self._inner_scope, model.scope_in_words
        if hasattr(model, "features_into"):
            self.features_into = f"model.{model.features_into}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the SR images (N, 3, scale*H, scale*W) of LR images (N, 3, H, W)."""
        bicubic = F.interpolate(x, scale_factor=self.scale, mode="bicubic")
        # Adding d to R, G and B changes the luma by d * 219 / 255 and leaves the chroma as it is.
        lacking = self.model(self._luma(x)) - self._luma(bicubic)
        return bicubic + lacking * (255 / 219)

    def _luma(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weights).sum(1, keepdim=True) + 16 / 255

    def _inner_scope(self, name: str, module: nn.Module) -> bool:
        return self.model.quantized_scope(name.removeprefix("model."), module)
