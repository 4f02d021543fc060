"""Small networks, x2, with the habits of other people's code, for what exports them."""

import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune


class Base(nn.Module):
    """Three convs and a pixel shuffle, x2."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        conv = lambda i, o: nn.Conv2d(i, o, 3, padding=1)  # noqa: E731
        self.a, self.b, self.c = conv(3, 12), conv(12, 12), conv(12, 12)

    def forward(self, x):
        return F.pixel_shuffle(self.c(self.middle(self.a(x).relu())), 2)

    def middle(self, x):
        return self.b(x).relu()


class ClampsInEval(Base):
    def forward(self, x):
        y = 3 * super().forward(x) + 0.4
        return y if self.training else y.clamp(0, 1)


class ResidualInTraining(Base):
    def forward(self, x):
        y = super().forward(x)
        return y if self.training else y + F.interpolate(x, scale_factor=2)


class DeepSupervision(Base):
    def forward(self, x):
        y = super().forward(x)
        return (y, F.pixel_shuffle(self.c(self.a(x)), 2)) if self.training else y


class InnerAsks(Base):
    """A part of the network asks, not the outermost module."""

    def __init__(self):
        super().__init__()
        self.end = ResidualInTraining()

    def forward(self, x):
        return super().forward(x) + self.end(x)


class Dropout(Base):
    def middle(self, x):
        return F.dropout(self.b(x), 0.5, self.training).relu()


class Unshuffled(Base):
    """Takes even sizes alone."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 48, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.c(self.middle(self.a(F.pixel_unshuffle(x, 2)).relu())), 4)


class ChannelAttention(Base):
    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 3, 1), nn.ReLU(), nn.Conv2d(3, 12, 1)
        )

    def middle(self, x):
        return self.b(x) * self.gate(x).sigmoid()


class Tied(Base):
    def __init__(self):
        super().__init__()
        self.d = nn.Conv2d(12, 12, 3, padding=1)
        self.d.weight, self.d.bias = self.b.weight, self.b.bias

    def middle(self, x):
        return self.d(self.b(x).relu()).relu()


class MeanShift(Base):
    def forward(self, x):
        return super().forward(x - 0.4) + 0.4


class Luma(Base):
    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 4, 3, padding=1)


class WritesItsWeight(Base):
    """A re-parameterized conv whose weight is written anew in every forward."""

    def __init__(self):
        super().__init__()
        self.point, self.merged = nn.Conv2d(12, 12, 1), nn.Conv2d(12, 12, 3, padding=1)

    def middle(self, x):
        self.merged.weight.data = self.b.weight + F.pad(self.point.weight, (1, 1, 1, 1))
        self.merged.bias.data = self.b.bias + self.point.bias
        return (self.b(x) + self.point(x) if self.training else self.merged(x)).relu()


class MergesInForward(WritesItsWeight):
    """The merged weight is computed, and used by a function."""

    def middle(self, x):
        weight = self.b.weight + F.pad(self.point.weight, (1, 1, 1, 1))
        return F.conv2d(x, weight=weight, bias=self.b.bias + self.point.bias, padding=1).relu()


class Standardized(nn.Conv2d):
    """Weight standardization."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, 0.1 * weight, self.bias, padding=self.padding)


class WeightStandardization(Base):
    def __init__(self):
        super().__init__()
        self.b = Standardized(12, 12, 3, padding=1)


class Normalized(Base):
    """One kind of re-parameterized weight for each conv."""

    def __init__(self):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the older weight_norm's age
            self.a = nn.utils.weight_norm(self.a)
        self.b = nn.utils.spectral_norm(self.b)
        self.c = parametrizations.weight_norm(prune.l1_unstructured(self.c, "bias", 3))


STRANGERS = [
    ClampsInEval, ResidualInTraining, DeepSupervision, InnerAsks, Dropout, Unshuffled, ChannelAttention, Tied,
    MeanShift, Luma, WritesItsWeight, MergesInForward, WeightStandardization, Normalized,
]  # fmt: skip
