"""PAMS (arXiv 2011.04212, and the authors' code): learned ranges, where they are placed, and its loss.

2^b - 1 symmetric levels with 0 among them, for weights and activations, also after ReLU. In every residual
block y = x + f(x) three things are quantized: the skip x, the inputs of the later convs of f, and f(x).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from core.quantizers.levels import LevelQuantizer
from core.quantizers.normalization import EPS

EPOCHS = 30  # of a run; rates halve after every ten
ATTENTION = 1000.0  # weight of the attention transfer
KEPT = 0.9997  # share that the moving average keeps, from its second epoch on
SMALLEST = 1e-6  # smallest range, so that no division by 0 occurs


class PamsQuantize(torch.autograd.Function):
    """The function round(clip(x, -a, a) Q / a) a / Q with Q = 2^(b-1) - 1, and its gradients.

    To x: 1 within the range, half at its ends, 0 beyond. To a: sign(x) beyond and (q - x) / a within. Without
    `clips`, values beyond a keep their codes beyond Q.
    """

    @staticmethod
    def forward(ctx, x, high, last: int, clips: bool):
        """Return the quantized x; high is a, last is Q."""
        kept = torch.clamp(x, -high, high) if clips else x
        quantized = torch.round(kept * last / high) * high / last
        ctx.save_for_backward(x, quantized, high)
        ctx.clips = clips
        return quantized

    @staticmethod
    def backward(ctx, grad):
        """Return the gradients to x and high."""
        x, quantized, high = ctx.saved_tensors
        size = x.abs()
        beyond = (size > high) if ctx.clips else torch.zeros_like(x, dtype=torch.bool)
        within = (~beyond).to(x.dtype)
        if ctx.clips:
            within = torch.where(size == high, 0.5, within)
        to_high = (grad * torch.where(beyond, x.sign(), (quantized - x) / high)).sum()
        return grad * within, to_high.view_as(high), None, None


class PamsRange(nn.Module):
    """A quantizer of activations at one place, with a learned range [-a, a].

    While `epoch` is set and at most `ema_epochs`, nothing is clipped and a follows the input: it is the mean
    over images of max|x| in the first epoch, and its moving average from the second on. While `penalty` is
    set, every call appends penalty(x, q) to `penalties`.
    """

    dynamic = False
    post_relu = False  # the levels are symmetric either way

    def __init__(self, bits: int, channel_dim: int, ema_epochs: int = 1, high: float = 1.0):
        super().__init__()
        self.bits, self.channel_dim, self.ema_epochs = bits, channel_dim, ema_epochs
        self.high = nn.Parameter(torch.tensor(float(high)))
        self.epoch: int | None = None
        self.penalty: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
        self.penalties: list[torch.Tensor] = []

    @torch.no_grad()
    def follow(self, x: torch.Tensor, epoch: int) -> None:
        """Update a from the batch x (N, ...)."""
        largest = x.abs().flatten(1).amax(1).mean()
        self.high.copy_(largest if epoch == 1 else KEPT * self.high + (1 - KEPT) * largest)
        self.high.clamp_(min=SMALLEST)

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return -a and a."""
        return -self.high, self.high

    @property
    def starting(self) -> bool:
        """Whether a follows the input instead of being learned."""
        return self.epoch is not None and self.epoch <= self.ema_epochs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the levels, of its shape; learns or follows a."""
        if self.starting:
            self.follow(x.detach(), self.epoch)
        high = self.high.clamp_min(SMALLEST)
        quantized = PamsQuantize.apply(x, high, 2 ** (self.bits - 1) - 1, not self.starting)
        if self.penalty is not None:
            self.penalties.append(self.penalty(x, quantized))
        return quantized

    @torch.no_grad()
    def frozen(self) -> LevelQuantizer:
        """Return the static quantizer with the same levels."""
        last = 2 ** (self.bits - 1) - 1
        points = torch.arange(-last, last + 1) * self.high.clamp_min(SMALLEST).cpu() / last
        return LevelQuantizer(points, self.bits, self.channel_dim, stored=16)


class PamsWeight(nn.Module):
    """A quantizer of one layer's weights to symmetric levels up to the largest |W|, which gets no gradient.

    A parametrization of `torch.nn.utils.parametrize`.
    """

    gamma = None  # no correction of the clipping

    def __init__(self, bits: int):
        super().__init__()
        self.bits = bits

    def high(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the outermost level."""
        return weight.detach().abs().max() + EPS

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight on its levels; the gradient passes straight through."""
        last, high = 2 ** (self.bits - 1) - 1, self.high(weight)
        quantized = torch.round(weight.detach() * last / high) * high / last
        return weight + (quantized - weight).detach()


class ResidualQuantizer(nn.Module):
    """A quantizer of a block y = x + f(x): one quantizer for the skip x, one for f(x)."""

    def __init__(self, skip: nn.Module, branch: nn.Module):
        super().__init__()
        self.skip, self.branch = skip, branch

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the block's output from its input x and float output y."""
        return self.skip(x) + self.branch(y - x)


def attach_residual_quantizer(block: nn.Module, quantizer: ResidualQuantizer) -> None:
    """Quantize the block's skip and branch by `quantizer` at every call."""
    block.residual_quantizer = quantizer.to(next(block.parameters()).device)
    block.register_forward_hook(_quantize_residual)


def _quantize_residual(block: nn.Module, args: tuple, y: torch.Tensor) -> torch.Tensor:
    return block.residual_quantizer(args[0], y)


def is_residual(module: nn.Module) -> bool:
    """Return whether the module is a residual block whose skip and branch are quantized."""
    return hasattr(module, "residual_quantizer")


def residual_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks y = x + f(x) by name: modules with `residual_block = True`; ValueError for none."""
    found = {name: m for name, m in model.named_modules() if getattr(m, "residual_block", False)}
    if not found:
        raise ValueError(
            f"PAMS quantizes residual blocks, and {type(model).__name__} has no module that says "
            "residual_block = True; train it with ODM"
        )
    return found


def attention_loss(features: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of two attention maps, of features (N, C, H, W).

    A map is the mean of squares over the channels, flattened and divided by its L2 norm.
    """
    maps = (F.normalize(x.square().mean(1).flatten(1)) for x in (features, reference))
    return F.mse_loss(*maps)
