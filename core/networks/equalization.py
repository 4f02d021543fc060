"""Equalize channels: the same network, whose channels between two convolutions share one range better."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import fx, nn

from core.networks.running import run
from core.networks.tracing import traced

SHARE = 0.75  # of the way: on other images a channel may reach beyond what it reached here
MOST = 64  # the largest factor: a channel that is nearly still on the images may not be so on others
SAME = 1e-3  # of the picture's range: more than rounding differs
# What commutes with a positive factor of a channel: f(s * x) = s * f(x).
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Dropout)
HOMOGENEOUS_CALLS = (F.relu, F.leaky_relu, torch.relu, "relu", "contiguous")

Origin = tuple[str, int]  # a layer, and one of its output channels
Channels = list[Origin | None]  # where each channel comes from; None: not from what can be scaled


def equalize_channels(model: nn.Module, images: torch.Tensor | Iterable[torch.Tensor]) -> nn.Module:
    """Return a copy in eval mode whose channels between convolutions reach nearly the same maximum.

    A channel is multiplied by its factor in the weights and bias that make it, and divided by it in the
    weights that read it. The network computes the same, but one range for a whole tensor now suits each of
    its channels: cross-layer equalization (Nagel et al. 2019, arXiv 1906.04721, sec. 4.1). There the factors
    balance the ranges of both layers' weights; here weights have a range per output channel already, so the
    factors are those of the activations, from what `images` show, (N, C, H, W) or an iterable of such: SHARE
    of the way to the largest channel, in logarithms. Scaled are channels that go from convolutions through
    rectifiers and concatenations into convolutions alone, by at most MOST. ValueError if torch.fx cannot
    trace the network, or if it uses its weights in another way too, and for no images.

    >>> import torch
    >>> from core import create_model, equalize_channels
    >>> model, lr = create_model("xlsr", 3), torch.rand(1, 3, 24, 24)
    >>> torch.allclose(equalize_channels(model, lr)(lr), model(lr), atol=1e-5)
    True
    """
    equal = copy.deepcopy(model).eval()
    read = _read_channels(equal)
    if not any(origin for channels in read.values() for origin in channels):
        return equal
    batches = [images] if isinstance(images, torch.Tensor) else images
    largest, first, expected = _largest(equal, read, batches)
    factors = _factors(read, largest)
    with torch.no_grad():
        for maker, channel in factors:
            layer = equal.get_submodule(maker)
            for part in (layer.weight, layer.bias):
                if part is not None:
                    part[channel] *= factors[maker, channel]
        for reader, channels in read.items():
            _divide_inputs(equal.get_submodule(reader), [factors.get(origin, 1.0) for origin in channels])
    away, spread = (_picture(equal, first) - expected).abs().max(), expected.max() - expected.min()
    if not away <= SAME * spread:
        raise ValueError(f"{type(model).__name__} changes with the scale of its channels: leave it as it is")
    return equal


def _read_channels(model: nn.Module) -> dict[str, Channels]:
    """Return for each convolution where its input channels come from."""
    graph, modules = traced(model), dict(model.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    holders = Counter(id(part) for module in modules.values() for part in module.parameters(recurse=False))
    origins: dict[fx.Node, Channels] = {}
    read: dict[str, Channels] = {}
    elsewhere: set[Origin | None] = set()  # channels that something else reads too
    for node in graph.nodes:
        sources = [channel for source in node.all_input_nodes for channel in origins.get(source, [])]
        module = modules.get(node.target) if node.op == "call_module" else None
        if _passes(node, module):
            origins[node] = sources
        elif node.target is torch.cat and _by_channels(node, origins):
            origins[node] = [channel for source in node.args[0] for channel in origins[source]]
        elif type(module) is nn.Conv2d:
            alone = calls[node.target] == 1 and all(holders[id(part)] == 1 for part in module.parameters())
            origins[node] = [(node.target, c) if alone else None for c in range(module.out_channels)]
            if alone and len(sources) == module.in_channels:
                read[node.target] = sources
            else:
                elsewhere.update(sources)
        else:
            elsewhere.update(sources)
    return {name: [None if c in elsewhere else c for c in channels] for name, channels in read.items()}


def _passes(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the node passes a positive factor of a channel on."""
    return isinstance(module, HOMOGENEOUS) or (module is None and node.target in HOMOGENEOUS_CALLS)


def _by_channels(node: fx.Node, origins: dict[fx.Node, Channels]) -> bool:
    """Whether the node joins tensors whose channels are known, along the channels."""
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    return dim in (1, -3) and bool(node.args) and all(source in origins for source in node.args[0])


def _largest(
    model: nn.Module, read: dict[str, Channels], images: Iterable[torch.Tensor]
) -> tuple[dict[Origin, float], torch.Tensor, torch.Tensor]:
    """Return the largest magnitude of each channel, as it is read; the first image, and its picture."""
    found: dict[Origin, float] = {}
    first = expected = None

    def record(channels: Channels):
        def call(module, inputs):
            highest = inputs[0].detach().abs().amax((0, 2, 3)).tolist()
            for origin, value in zip(channels, highest, strict=True):
                if origin is not None:
                    found[origin] = max(value, found.get(origin, 0.0))

        return call

    handles = [
        model.get_submodule(name).register_forward_pre_hook(record(channels))
        for name, channels in read.items()
    ]
    try:
        for batch in images:
            sr = _picture(model, batch)
            if first is None or expected is None:
                first, expected = batch[:1], sr[:1]
    finally:
        for handle in handles:
            handle.remove()
    if first is None or expected is None:
        raise ValueError("equal channels need at least one image, got none")
    return found, first, expected


def _picture(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.autocast(images.device.type, enabled=False):
        return run(model, images)


def _factors(read: dict[str, Channels], largest: dict[Origin, float]) -> dict[Origin, float]:
    """Return the factor of each channel that lifts it towards the largest of those read together with it."""
    goal = dict(largest)
    together = [[c for c in channels if c is not None] for channels in read.values()]
    together += [[c for c in goal if c[0] == maker] for maker in {maker for maker, _ in goal}]
    changed = True
    while changed:
        changed = False
        for group in together:
            top = max((goal[c] for c in group), default=0.0)
            changed |= any(goal[c] < top for c in group)
            goal.update(dict.fromkeys(group, top))
    return {c: min((goal[c] / value) ** SHARE, MOST) for c, value in largest.items() if value > 0}


def _divide_inputs(layer: nn.Conv2d, factors: list[float]) -> None:
    """Divide the weights that read each input channel by its factor, in place."""
    by_group = torch.tensor(factors).to(layer.weight).reshape(layer.groups, 1, -1, 1, 1)
    layer.weight /= by_group.expand(-1, layer.out_channels // layer.groups, -1, 1, 1).flatten(0, 1)
