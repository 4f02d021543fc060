"""The old path of `core.analysis.cost`; goes with the next version."""

from core.analysis.cost import Cost, cost

__all__ = ["Cost", "cost"]
