"""BatchNorm folded into the convs before it: the same network with fewer layers."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose BatchNorms are part of the convs they follow; the model is left as it is.

    Folding changes the weights that are quantized, not the float network. A BatchNorm whose input is used
    elsewhere too, or is no conv's output, stays. Raises ValueError for a network that torch.fx cannot trace.
    """
    folded = copy.deepcopy(model).eval()
    try:
        graph = fx.Tracer().trace(folded)
    except Exception as error:  # whatever the network's own forward raises on symbols
        raise ValueError(f"{type(model).__name__} cannot be traced by torch.fx: {error}") from error
    modules = dict(folded.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        source = node.args[0]
        conv = modules.get(source.target) if source.op == "call_module" else None
        once = calls[node.target] == calls[source.target] == 1 == len(source.users)
        if isinstance(conv, nn.Conv2d) and once:
            with torch.no_grad():
                folded.set_submodule(source.target, fuse_conv_bn_eval(conv, modules[node.target]))
            folded.set_submodule(node.target, nn.Identity())
    return folded
