"""The graph of a network's forward: which layer reads what another one makes."""

from __future__ import annotations

from torch import fx, nn


def traced(model: nn.Module) -> fx.Graph:
    """Return the graph of calls in the network's forward; ValueError if torch.fx cannot trace it."""
    try:
        return fx.Tracer().trace(model)
    except Exception as error:  # the network's forward may raise any error on fx's symbols
        raise ValueError(f"{type(model).__name__} cannot be traced by torch.fx: {error}") from error
