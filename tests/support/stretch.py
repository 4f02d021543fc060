"""A network whose outputs leave [0, 1], and images of two tones."""

import torch
from torch import nn

from core.deploy.representative import TILE


class Stretch(nn.Module):
    """x -> 1.25 x - 0.125, clipped as the mobile networks are: white becomes 1.125, black -0.125."""

    def __init__(self):
        super().__init__()
        self.clip = nn.Hardtanh(0.0, 1.0)

    def forward(self, x):
        return self.clip(1.25 * x - 0.125)


def flat(low, high, height=TILE, width=TILE):
    """An image of two tones, left and right."""
    image = torch.full((1, 3, height, width), float(low))
    image[..., width // 2 :] = high
    return image
