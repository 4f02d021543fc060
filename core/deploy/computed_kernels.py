"""Kernels that a network computes in forward, made stored ones: re-parameterized and standardized weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from core.ptq.scope import channel_dim_of

PRODUCTS = (F.conv2d, F.conv_transpose2d, F.linear)


class ComputedKernels(TorchFunctionMode):
    """Within the context, notes every kernel that is neither parameter nor buffer, and whose layer runs.

    kernels: what was noted, in order of the calls. owners: the name of the layer that ran, or None where the
    product is a function's. Given the `stored` kernels of an earlier run, they take the places of these.
    """

    def __init__(self, network: nn.Module, stored: nn.ParameterList | None = None):
        super().__init__()
        self.kernels: list[torch.Tensor] = []
        self.owners: list[str | None] = []
        self._network, self._stored = network, stored
        self._own = {id(tensor) for tensor in _tensors(network)}
        self._running: list[str] = []
        self._handles: list = []

    def __enter__(self):
        for name, module in self._network.named_modules():
            if channel_dim_of(module) is not None:
                push = module.register_forward_pre_hook(lambda *_, name=name: self._running.append(name))
                pop = module.register_forward_hook(lambda *_: self._running.pop() and None)
                self._handles += [push, pop]
        return super().__enter__()

    def __exit__(self, *error):
        for handle in self._handles:
            handle.remove()
        return super().__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in PRODUCTS:
            kernel = args[1] if len(args) > 1 else kwargs["weight"]
            if id(kernel) not in self._own:
                kernel = self._note(kernel)
                args, kwargs = (
                    (*args[:1], kernel, *args[2:]),
                    {k: v for k, v in kwargs.items() if k != "weight"},
                )
        return function(*args, **kwargs)

    def _note(self, kernel: torch.Tensor) -> torch.Tensor:
        self.kernels.append(kernel)
        self.owners.append(self._running[-1] if self._running else None)
        return kernel if self._stored is None else self._stored[len(self.kernels) - 1]


def _tensors(network: nn.Module) -> Iterator[torch.Tensor]:
    yield from network.parameters()
    yield from network.buffers()
