"""What JupyterLab says with each cell that runs: which cells are gone, and for which page it runs."""

from __future__ import annotations

import collections
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

_pages: set[str] = set()  # of the browser, by name, that have what widgets need
_shown: dict[str, list[Callable[[], object]]] = collections.defaultdict(list)  # cell -> what closes it


def when_gone(close: Callable[[], object]) -> None:
    """Call `close` once the notebook's cell under way is deleted or runs again; elsewhere never."""
    if cell := _told().get("cellId"):
        _follow_cells()
        _shown[cell].append(close)


def needs_widgets(loaded: bool) -> bool:
    """Tell, once for each page of the browser, whether it lacks what widgets need; a reload makes a new page.

    loaded: whether some page of this kernel has it, which is then the first that is asked for.
    """
    page = _parent().get("header", {}).get("session", "")
    new = page not in _pages and (bool(_pages) or not loaded)
    _pages.add(page)
    return new


def _shell() -> Any:
    """Return IPython's shell; None where there is none."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _told() -> Mapping[str, Any]:
    """Read what the notebook said with the cell under way: its name, and the cells that were deleted."""
    return _parent().get("metadata", {})


def _parent() -> Mapping[str, Any]:
    """Read the message that had the cell under way run; empty where there is none."""
    shell = _shell()
    return shell.get_parent() if hasattr(shell, "get_parent") else {}


@functools.cache
def _follow_cells() -> None:
    _shell().events.register("pre_run_cell", lambda info: _close_gone())


def _close_gone() -> None:
    told = _told()
    for cell in (told.get("cellId"), *told.get("deletedCells", ())):
        for close in _shown.pop(cell, ()):
            close()
