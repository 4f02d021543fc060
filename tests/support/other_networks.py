"""Networks as others write them, each unlike the bundled ones in one way."""

import torch
import torch.nn.functional as F
from torch import nn

from core.ptq.audit import audit


def conv(inputs, outputs, size=3):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


class Plain(nn.Module):
    """x2, two inner convs with a skip."""

    def __init__(self, make=conv):
        super().__init__()
        self.head, self.a, self.b, self.tail = make(3, 8), make(8, 8), make(8, 8), make(8, 12)

    def forward(self, x):
        h = self.head(x)
        return F.pixel_shuffle(self.tail(h + self.b(self.a(h).relu())), 2)


class Around(nn.Module):
    """A thin wrapper, as for a self-ensemble or another range."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


class Shift(nn.Conv2d):
    """A fixed 1x1 conv that adds a colour."""

    def __init__(self, sign, frozen=True):
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = sign * torch.tensor([0.4, 0.5, 0.6])
        self.requires_grad_(not frozen)


class Shifted(Plain):
    """The mean colour is subtracted before and added after."""

    def __init__(self, frozen=True):
        super().__init__()
        self.before, self.after = Shift(-1, frozen), Shift(+1, frozen)

    def forward(self, x):
        return self.after(super().forward(self.before(x)))


class Attention(Plain):
    """Channel attention: two layers on pooled features, as 1x1 convs or as Linear."""

    def __init__(self, linear=False):
        super().__init__()
        self.linear = linear
        self.down, self.up = (nn.Linear(8, 8) if linear else conv(8, 8, 1) for _ in range(2))

    def forward(self, x):
        h = self.head(x)
        pooled = h.mean((2, 3)) if self.linear else h.mean((2, 3), keepdim=True)
        share = self.up(self.down(pooled).relu()).sigmoid()
        h = h * (share[..., None, None] if self.linear else share)
        return F.pixel_shuffle(self.tail(h + self.b(self.a(h).relu())), 2)


class Tied(Plain):
    """Both inner convs have one weight and one bias."""

    def __init__(self):
        super().__init__()
        self.b.weight, self.b.bias = self.a.weight, self.a.bias


class Rewritten(Plain):
    """The weight of `a` is merged from two branches at every forward in eval mode, as SPAN has it."""

    def __init__(self, write=None):
        super().__init__()
        self.wide, self.narrow = conv(8, 8), conv(8, 8, 1)
        self.write = write or Rewritten.replace

    def replace(self, weight, bias):
        self.a.weight.data, self.a.bias.data = weight, bias

    def fill(self, weight, bias):
        self.a.weight.data.copy_(weight)
        self.a.bias.data.copy_(bias)

    def assign(self, weight, bias):
        self.a.weight, self.a.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x):
        if not self.training:
            weight = self.wide.weight.detach() + F.pad(self.narrow.weight.detach(), (1, 1, 1, 1))
            self.write(self, weight, (self.wide.bias + self.narrow.bias).detach())
        h = self.head(x)
        a = self.wide(h) + self.narrow(h) if self.training else self.a(h)
        return F.pixel_shuffle(self.tail(h + self.b(a.relu())), 2)


class Hooked(Plain):
    """A hook of the network's own scales and shifts what `a` receives."""

    def __init__(self):
        super().__init__()
        self.a.register_forward_pre_hook(lambda module, args: (args[0] * 10 + 3,))


def run(model, x):
    """The picture in float32, of an image in the network's own type."""
    return model(x.to(next(model.parameters()).dtype)).float().detach()


def quantized_names(model):
    return [row.name for row in audit(model) if not row.reason]
