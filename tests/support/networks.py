"""Small networks with layers that are used in unusual ways."""

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


class Mixed(nn.Module):
    """Grouped, 1x1, dilated and transposed convs, a Linear over channels."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=2, groups=4, dilation=2)
        self.point = nn.Conv2d(8, 6, 1)
        self.linear = nn.Linear(6, 6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.tail = nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, x):
        x = self.point(F.relu(self.grouped(self.head(x))))
        return self.tail(self.up(self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)))


class Twice(nn.Module):
    """One conv called twice, also under a second name; the weight of another is read from outside."""

    def __init__(self):
        super().__init__()
        self.head, self.conv, self.read, self.tail = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.alias = self.conv
        self.idle = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.alias(F.relu(self.conv(self.head(x))))
        return self.tail(F.conv2d(x, self.read.weight, self.read.bias, padding=1))


class OneByOne(nn.Module):
    """The inner layers get images without a batch dimension."""

    def __init__(self):
        super().__init__()
        self.head, self.conv, self.tail = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x):
        return torch.stack([self.tail(self.conv(self.head(image))) for image in x])


NETWORKS = [Mixed, Twice, OneByOne]


def pairs(methods):
    """Every method on one network and every network with two: methods differ in their quantizers, networks in
    their layers.
    """
    methods = list(methods)
    return [(Mixed, method) for method in methods] + [(n, m) for n in (Twice, OneByOne) for m in methods[:1]]


class Small(nn.Module):
    """Four convs, x2; `ending(sr, features)` makes what it returns."""

    def __init__(self, ending=lambda sr, features: sr, channels=3):
        super().__init__()
        self.ending = ending
        sizes = ((channels, 8), (8, 8), (8, 8), (8, 4 * channels))
        self.head, self.a, self.b, self.tail = (nn.Conv2d(i, o, 3, padding=1) for i, o in sizes)

    def forward(self, x):
        features = self.a(self.head(x).relu())
        return self.ending(F.pixel_shuffle(self.tail(self.b(features).relu()), 2), features)


def checkpoint(model, path) -> bytes:
    """The content of a network's file, written to `path`."""
    save_file({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}, path)
    return path.read_bytes()
