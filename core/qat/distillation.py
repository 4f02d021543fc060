"""The losses by which a quantized network learns from the float one: outputs, and features of its blocks.

2DQuant (arXiv 2406.06649) and PTQ4SR (CVPR 2023, with the authors' code) compare features differently.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

FEATURES = 5.0  # weight of the features' part, in both papers
TINY = 1e-12  # added to norms, so that a dead block divides by no 0


def _whole(own: torch.Tensor, wanted: torch.Tensor, channel_dim: int) -> torch.Tensor:
    """Return 2DQuant's difference: the mean over samples of ||F / ||F|| - F_q / ||F_q|| || / (C H W)."""
    own, wanted = (_unit(features) for features in (own, wanted))
    return ((own - wanted).square().sum(1) + TINY**2).sqrt().mean() / own.shape[1]


def _energy(own: torch.Tensor, wanted: torch.Tensor, channel_dim: int) -> torch.Tensor:
    """Return PTQ4SR's: the mean square of A / ||A|| - A_q / ||A_q||, A the mean square over channels."""
    own, wanted = (_unit(features.square().mean(channel_dim)) for features in (own, wanted))
    return (own - wanted).square().mean()


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Return the features of each sample in a row of norm 1."""
    rows = features.flatten(1)
    return rows / (rows.norm(dim=1, keepdim=True) + TINY)


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]] = {
    "2dquant": _whole,
    "ptq4sr": _energy,
}


def distillation_loss(
    output: torch.Tensor,
    target: torch.Tensor,
    features: Sequence[torch.Tensor],
    target_features: Sequence[torch.Tensor],
    loss: str = "2dquant",
    channel_dim: int = -3,
) -> torch.Tensor:
    """Return L_O + 5 L_F: the mean absolute difference of the outputs, and the features' difference.

    features: the outputs of blocks, (N, C, H, W), or (N, ..., C) with channel_dim -1; L_F is a mean over
    them. loss: which difference. "2dquant": of the features, each sample scaled to norm 1, as a norm, by
    their number. "ptq4sr": of their mean squares over the channels, scaled alike, as a mean square. In the
    code of PTQ4SR's authors no gradient passes through L_F, so that L_O alone trains; here both do.
    """
    total = (output - target).abs().mean()
    if not features:
        return total
    pairs = zip(features, target_features, strict=True)
    return total + FEATURES * torch.stack([LOSSES[loss](*pair, channel_dim) for pair in pairs]).mean()


def blocks(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """Return the names of the network's blocks: the outermost modules that share out the quantized layers.

    From the network inwards: where several children hold quantized layers, they are the blocks; where one
    does, its children are looked at. A ModuleList stands for its children, as it is never called itself.
    """
    holding = {name[:i] for name in layers for i in range(len(name) + 1) if name[i : i + 1] in (".", "")}

    def within(prefix: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
        found = []
        for name, child in module.named_children():
            path = f"{prefix}.{name}".lstrip(".")
            if path in holding:
                is_list = isinstance(child, nn.ModuleList | nn.ModuleDict)
                found += within(path, child) if is_list else [(path, child)]
        return found

    found = within("", model)
    while len(found) == 1 and found[0][0] not in layers:
        found = within(*found[0])
    return [name for name, _ in found]


@contextlib.contextmanager
def outputs_of(network: nn.Module, names: Sequence[str]) -> Iterator[list[torch.Tensor]]:
    """Collect the outputs of the named modules, in the order of their calls, while the context is open."""
    found: list[torch.Tensor] = []

    def record(module, args, output):
        if isinstance(output, torch.Tensor):
            found.append(output)

    handles = [network.get_submodule(name).register_forward_hook(record) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
