"""A training step on a GPU as CUDA graphs: its two thousand small kernels cost one launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


class Captured:
    """A function that always does the same with its tensors, recorded on a GPU and replayed.

    The first call runs it as it is, which lets libraries and optimizers make what they keep; the second
    records it; from then on inputs are copied into those recorded, and the result, always the same tensors,
    is written anew. On the CPU every call runs the function.
    """

    def __init__(self, function: Callable):
        self.function = function
        self.inputs: Sequence[torch.Tensor] = ()
        self.result: Any = None
        self._calls = 0
        self._graph = self._graph_behind = None

    def __call__(self, *inputs: torch.Tensor):
        self._calls += 1
        if self._calls == 1 or inputs[0].device.type != "cuda":
            return self.function(*inputs)
        if self._graph is None:
            self.inputs = inputs
            self._graph, self.result = _record(self.function, *inputs)
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new)
        self._graph.replay()
        return self.result

    def follow(self, function: Callable[[Any], None]) -> None:
        """Run `function` on the result, recorded too; always the same function."""
        if self._graph_behind is None:
            self._graph_behind, _ = _record(function, self.result)
        self._graph_behind.replay()


def _record(function: Callable, *inputs) -> tuple[torch.cuda.CUDAGraph, Any]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function(*inputs)
    return graph, result
