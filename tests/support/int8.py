"""What the tests of INT8 files share."""

import torch
from torch import nn

import core


def every_conv(name, module):
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))


def photographs():
    lr = core.make_lr(core.demo_image("coffee (scikit-image)"), 2)
    return torch.cat([lr[..., 60:108, left : left + 48] for left in (60, 110, 160)])


def psnr(got, expected):
    """In dB, of the output's range."""
    spread = expected.max() - expected.min()
    return (20 * (spread / (got - expected).square().mean().sqrt()).log10()).item()
