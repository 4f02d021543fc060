"""Eleven super-resolution networks (x2) as their authors elsewhere write them, small, with seeded weights.

None knows this project: no base class, no attributes of ours, whatever habits such code has.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def conv(n_in, n_out, size=3):
    return nn.Conv2d(n_in, n_out, size, padding=size // 2)


class WeightNorm(nn.Module):
    """As WDSR: wide activations, every conv weight-normalized, and a 5x5 skip."""

    def __init__(self):
        super().__init__()
        self.head = weight_norm(conv(3, 12))
        self.body = nn.ModuleList(
            nn.Sequential(weight_norm(conv(12, 24)), nn.ReLU(True), weight_norm(conv(24, 12)))
            for _ in range(2)
        )
        self.tail, self.skip = weight_norm(conv(12, 12)), weight_norm(conv(3, 12, 5))
        self.shuf = nn.PixelShuffle(2)

    def forward(self, x):
        s = self.skip(x)
        x = self.head(x)
        for block in self.body:
            x = x + block(x)
        return self.shuf(self.tail(x) + s)


class Unshuffled(nn.Module):
    """As RealESRGAN x2plus: works on a map of half the size, enlarges it twice; even sizes alone."""

    def __init__(self):
        super().__init__()
        self.conv_first, self.conv_body = conv(12, 16), conv(16, 16)
        self.conv_up1, self.conv_up2 = conv(16, 16), conv(16, 16)
        self.conv_hr, self.conv_last = conv(16, 16), conv(16, 3)
        self.lrelu = nn.LeakyReLU(negative_slope=0.2, inplace=True)

    def forward(self, x):
        feat = self.conv_first(F.pixel_unshuffle(x, 2))
        feat = feat + self.conv_body(self.lrelu(feat.clone()))
        feat = self.lrelu(self.conv_up1(F.interpolate(feat, scale_factor=2, mode="nearest")))
        feat = self.lrelu(self.conv_up2(F.interpolate(feat, scale_factor=2, mode="nearest")))
        return self.conv_last(self.lrelu(self.conv_hr(feat)))


class ChannelAttention(nn.Module):
    def __init__(self, channel, reduction=4):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(channel, channel // reduction, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channel // reduction, channel, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        contrast = self.avg_pool((x - self.avg_pool(x)) ** 2).sqrt()
        return x * self.conv_du(40 * (contrast + self.avg_pool(x)))


class Attention(nn.Module):
    """As IMDN and RCAN: every block weighs its channels by what they hold in the whole picture."""

    def __init__(self):
        super().__init__()
        self.head, self.tail = conv(3, 16), conv(16, 12)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(conv(16, 16), nn.ReLU(True), conv(16, 16), ChannelAttention(16))
                for _ in range(2)
            )
        )

    def forward(self, x):
        x = self.head(x)
        return F.pixel_shuffle(self.tail(x + 9 * self.blocks(x)), 2)


class SpatialAttention(nn.Module):
    """As RFDN's ESA: a gate from a map that a stride and a pooling reduce, enlarged to the size of x."""

    def __init__(self, n_feats):
        super().__init__()
        f = n_feats // 4
        self.conv1, self.conv_f, self.conv4 = conv(n_feats, f, 1), conv(f, f, 1), conv(f, n_feats, 1)
        self.conv2 = nn.Conv2d(f, f, 3, stride=2, padding=0)
        self.conv_max, self.conv3, self.conv3_ = conv(f, f), conv(f, f), conv(f, f)
        self.relu, self.sigmoid = nn.ReLU(inplace=True), nn.Sigmoid()
        for p in self.parameters():
            p.data *= 3  # as after training, where the gate differs from place to place

    def forward(self, x):
        c1_ = self.conv1(x)
        v_max = F.max_pool2d(self.conv2(c1_), kernel_size=7, stride=3)
        c3 = self.conv3_(self.relu(self.conv3(self.relu(self.conv_max(v_max)))))
        c3 = F.interpolate(c3, (x.size(2), x.size(3)), mode="bilinear", align_corners=False)
        return x * self.sigmoid(self.conv4(c3 + self.conv_f(c1_)))


class DistillationBlock(nn.Module):
    """As RFDN's RFDB: at every step a 1x1 conv keeps a part, and a residual conv goes on with the rest."""

    def __init__(self, channels):
        super().__init__()
        dc = channels // 2
        self.c1_d, self.c1_r = conv(channels, dc, 1), conv(channels, channels)
        self.c2_d, self.c2_r = conv(channels, dc, 1), conv(channels, channels)
        self.c3 = conv(channels, dc)
        self.act = nn.LeakyReLU(negative_slope=0.05, inplace=True)
        self.c5 = conv(dc * 3, channels, 1)
        self.esa = SpatialAttention(channels)

    def forward(self, input):
        distilled_c1 = self.act(self.c1_d(input))
        r_c1 = self.act(self.c1_r(input) + input)
        distilled_c2 = self.act(self.c2_d(r_c1))
        r_c2 = self.act(self.c2_r(r_c1) + r_c1)
        r_c3 = self.act(self.c3(r_c2))
        return self.esa(self.c5(torch.cat([distilled_c1, distilled_c2, r_c3], dim=1)))


class Distillation(nn.Module):
    """As RFDN: residual feature distillation, all blocks joined by a 1x1 conv."""

    def __init__(self, nf=16):
        super().__init__()
        self.fea_conv, self.B1, self.B2 = conv(3, nf), DistillationBlock(nf), DistillationBlock(nf)
        self.c = nn.Sequential(conv(nf * 2, nf, 1), nn.LeakyReLU(0.05, inplace=True))
        self.LR_conv = conv(nf, nf)
        self.upsampler = nn.Sequential(conv(nf, 12), nn.PixelShuffle(2))

    def forward(self, input):
        out_fea = self.fea_conv(input)
        out_B1 = self.B1(out_fea)
        out_B2 = self.B2(out_B1)
        out_B = self.c(torch.cat([out_B1, out_B2], dim=1))
        return self.upsampler(self.LR_conv(out_B) + out_fea)


class Tied(nn.Module):
    """As DRRN: the convs of all recursions share one weight, each under a name of its own."""

    def __init__(self):
        super().__init__()
        self.head, self.tail = conv(3, 16), conv(16, 12)
        self.body = nn.ModuleList(conv(16, 16) for _ in range(4))
        for layer in self.body[1:]:
            layer.weight, layer.bias = self.body[0].weight, self.body[0].bias

    def forward(self, x):
        x = residual = self.head(x)
        for layer in self.body:
            x = residual + 0.5 * layer(x).relu()
        return F.pixel_shuffle(self.tail(x), 2)


class EvalBranch(nn.Module):
    """Returns auxiliary outputs in training; adds the enlarged input and clips in eval mode alone."""

    def __init__(self):
        super().__init__()
        self.head, self.body, self.tail = conv(3, 16), conv(16, 16), conv(16, 12)

    def forward(self, x):
        feat = self.head(x).relu()
        res = F.pixel_shuffle(self.tail(feat + self.body(feat)), 2)
        if self.training:
            return res, feat
        return torch.clamp(x.repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.3 * res, 0, 1)


class TupleOutput(nn.Module):
    """Returns its features beside the picture, for a loss on them."""

    def __init__(self):
        super().__init__()
        self.head, self.body, self.up = conv(3, 16), conv(16, 16), conv(16, 12)

    def forward(self, lr):
        feats = [self.head(lr)]
        feats.append(self.body(feats[-1].relu()))
        return F.pixel_shuffle(self.up(feats[0] + feats[1].relu()), 2), feats


class InterpolatedSkip(nn.Module):
    """As SRVGGNetCompact and PAN: PReLUs, and the enlarged input added to the shuffled output."""

    def __init__(self, mode="bilinear"):
        super().__init__()
        self.mode = mode
        self.body = nn.Sequential(conv(3, 16), nn.PReLU(16), conv(16, 16), nn.PReLU(16), conv(16, 12))
        self.upsampler = nn.PixelShuffle(2)

    def forward(self, x):
        out = self.upsampler(self.body(x))
        return out + F.interpolate(x, scale_factor=2, mode=self.mode)


class MeanShift(nn.Conv2d):
    """As EDSR-PyTorch has it: a fixed 1x1 conv."""

    def __init__(self, sign, rgb_range=1.0, rgb_mean=(0.4488, 0.4371, 0.4040)):
        super().__init__(3, 3, kernel_size=1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = sign * rgb_range * torch.tensor(rgb_mean)
        for p in self.parameters():
            p.requires_grad = False


class MeanShifts(nn.Module):
    """As EDSR-PyTorch and its many heirs: shifts by the mean colour before and after the learned layers."""

    def __init__(self):
        super().__init__()
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        self.head = nn.Sequential(conv(3, 16))
        self.body = nn.Sequential(conv(16, 16), nn.ReLU(True), conv(16, 16))
        self.tail = nn.Sequential(nn.Sequential(conv(16, 64), nn.PixelShuffle(2)), conv(16, 3))

    def forward(self, x):
        x = self.head(self.sub_mean(x))
        return self.add_mean(self.tail(x + self.body(x)))


class Luma(nn.Module):
    """As ESPCN and LapSRN: one channel in and out."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = conv(1, 16, 5), conv(16, 16), conv(16, 8), conv(8, 4)

    def forward(self, x):
        y = self.conv3(self.conv2(self.conv1(x).relu()).relu()).relu()
        return F.pixel_shuffle(self.conv4(y), 2) + F.interpolate(x, scale_factor=2, mode="nearest")


class RepConv(nn.Module):
    """As SPAN's Conv3XC: in eval mode one conv, written anew at every forward from the training branches."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.expand, self.reduce = nn.Conv2d(n_in, 2 * n_out, 1, bias=False), conv(2 * n_out, n_out)
        self.sk = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.eval_conv = conv(n_in, n_out)
        self.eval_conv.weight.requires_grad = self.eval_conv.bias.requires_grad = False

    def update_params(self):
        weight = torch.einsum("omhw,mi->oihw", self.reduce.weight.data, self.expand.weight.data[..., 0, 0])
        self.eval_conv.weight.data = weight + F.pad(self.sk.weight.data, (1, 1, 1, 1))
        self.eval_conv.bias.data = self.reduce.bias.data

    def forward(self, x):
        if self.training:
            return self.reduce(self.expand(x)) + self.sk(x)
        self.update_params()
        return self.eval_conv(x)


class Reparameterized(nn.Module):
    """As SPAN: every conv but the last is one of these."""

    def __init__(self):
        super().__init__()
        self.conv_1, self.block, self.conv_2 = RepConv(3, 16), RepConv(16, 16), RepConv(16, 16)
        self.upsampler = nn.Sequential(conv(16, 12), nn.PixelShuffle(2))

    def forward(self, x):
        feat = self.conv_1(x)
        return self.upsampler(feat + self.conv_2(F.silu(self.block(feat))))


NETWORKS = [WeightNorm, Unshuffled, Attention, Distillation, Tied, EvalBranch]
NETWORKS += [TupleOutput, InterpolatedSkip, MeanShifts, Luma, Reparameterized]
STRANGERS = {cls.__name__: cls for cls in NETWORKS}


def stranger(name):
    """The network of that name in eval mode, its weights always the same."""
    torch.manual_seed(0)
    return STRANGERS[name]().eval()
