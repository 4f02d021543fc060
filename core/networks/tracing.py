"""The graph of a network's forward: which layer reads what another one makes."""

from __future__ import annotations

import threading

from torch import fx, nn

ONE_AT_A_TIME = threading.Lock()


class _OfOneThread(fx.Tracer):
    """A tracer of the calls in its own thread: torch.fx catches those of every module in the process."""

    def __init__(self):
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(self, m, forward, args, kwargs):
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr, attr_val, parameter_proxy_cache):
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def traced(model: nn.Module) -> fx.Graph:
    """Return the graph of calls in the network's forward; ValueError if torch.fx cannot trace it.

    Networks may run in other threads meanwhile.
    """
    try:
        with ONE_AT_A_TIME:
            return _OfOneThread().trace(model)
    except Exception as error:  # the network's forward may raise any error on fx's symbols
        raise ValueError(f"{type(model).__name__} cannot be traced by torch.fx: {error}") from error
