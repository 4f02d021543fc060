"""The former path of `core.analysis.cost`; it goes with the next version."""

from core.analysis.cost import Cost, cost

__all__ = ["Cost", "cost"]
