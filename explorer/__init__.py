"""The dashboard: what a person chooses, computes and sees; `explore` shows it for any network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explorer.embed import explore

__all__ = ["explore"]


def __getattr__(name: str) -> object:
    """Import `explore` when it is asked for: the processes that the explorer starts need no figures."""
    if name != "explore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from explorer.embed import explore

    return explore
