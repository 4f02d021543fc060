"""What a network's forward calls, written in another way in its file.

Kernels that it computes (re-parameterized and standardized weights) are stored; channels that it repeats are
picked or convolved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from core.ptq.scope import channel_dim_of

PRODUCTS = (F.conv2d, F.conv_transpose2d, F.linear)


class ComputedKernels(TorchFunctionMode):
    """A context that records every kernel that is neither parameter nor buffer when its layer runs.

    kernels: the recorded kernels, in order of the calls. owners: the name of the layer that ran, or None for
    a call of a function. If the `stored` kernels of an earlier run are given, they replace the computed ones.
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


class Repeats(TorchFunctionMode):
    """A context in which `repeated(x, repeats)` repeats the channels of images x (N, C, H, W)."""

    def __init__(self, repeated: Callable[[torch.Tensor, int], torch.Tensor]):
        super().__init__()
        self._repeated = repeated

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.repeat_interleave, torch.Tensor.repeat_interleave):
            x, repeats, dim = _repeat(*args, **kwargs)
            if isinstance(repeats, int) and x.ndim == 4 and dim in (1, -3):
                return self._repeated(x, repeats)
        return function(*args, **kwargs)


def _repeat(input, repeats=None, dim=None, **_):
    return input, repeats, dim


def gathered(x: torch.Tensor, repeats: int) -> torch.Tensor:
    """Return x with each channel `repeats` times, by picking: in ONNX one Gather.

    The exporter would write a Tile and a Reshape to a size that it asks for. OpenVINO (2026.4) then asks the
    first convolution for it and, where the number of images is free, gives all channels of that convolution
    the bias of the first: ABPN's INT8 picture was at 24 dB instead of 55.
    """
    order = [channel for channel in range(int(x.shape[1])) for _ in range(repeats)]
    return x.index_select(1, torch.tensor(order, device=x.device))


def convolved(x: torch.Tensor, repeats: int, kernels: dict[tuple[int, int], torch.Tensor]) -> torch.Tensor:
    """Return x with each channel `repeats` times, by a 1x1 convolution with ones and zeros.

    ABPN's anchor repeats each colour; LiteRT's converter would leave NHWC for that and come back. kernels:
    those of an earlier run, by number of channels and repeats, so that the converter sees constants.
    """
    key = x.shape[1], repeats
    if key not in kernels:
        kernels[key] = torch.eye(x.shape[1]).repeat_interleave(repeats, 0)[:, :, None, None]
    return F.conv2d(x, kernels[key])


def _tensors(network: nn.Module) -> Iterator[torch.Tensor]:
    yield from network.parameters()
    yield from network.buffers()
