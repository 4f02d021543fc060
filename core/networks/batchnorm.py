"""Fold BatchNorm into the convs before it: the same network with fewer layers."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from core.networks.tracing import traced


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode with each BatchNorm folded into the conv before it; the model is unchanged.

    Folding changes the weights that are quantized, not the output of the float network. A BatchNorm stays if
    its input is used elsewhere too or is not the output of a conv. ValueError if torch.fx cannot trace the
    network.

    >>> from torch import nn
    >>> from core import fold_batchnorm
    >>> fold_batchnorm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
    )
    """
    folded = copy.deepcopy(model).eval()
    graph = traced(folded)
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
