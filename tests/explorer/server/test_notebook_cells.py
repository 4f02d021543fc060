"""A notebook's cell that is deleted, or runs again, frees what it showed."""

import gc
import types
import weakref

import IPython
import panel as pn
import pytest
from strangers import stranger

from explorer import explore
from explorer.server import notebook_cells
from explorer.server.notebook import load_into_page
from explorer.server.notebook_cells import needs_widgets


class Kernel:
    """What IPython tells: the cell under way and the cells that were deleted, as JupyterLab sends them."""

    def __init__(self):
        self.events, self.told, self.page, self._before = self, {}, "page", []

    def register(self, name, call):
        assert name == "pre_run_cell"
        self._before.append(call)

    def get_parent(self):
        return {"metadata": self.told, "header": {"session": self.page}}

    def run(self, cell, deleted=()):
        self.told = {"cellId": cell, "deletedCells": list(deleted)}
        for call in self._before:
            call(types.SimpleNamespace())


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    monkeypatch.setattr(pn.extension, "_loaded", True)
    monkeypatch.setattr(notebook_cells, "_pages", {kernel.page})
    notebook_cells._follow_cells.cache_clear()
    yield kernel
    notebook_cells._follow_cells.cache_clear()


def shown() -> list[weakref.ref]:
    """Show a network in the cell under way, as IPython does with a cell's last value."""
    cell = explore(stranger("TupleOutput"), method="minmax", compared_bits=[3]).__panel__()
    cell._repr_mimebundle_()
    return [weakref.ref(thing) for thing in (cell, cell._queue)]


def alive(found: list[weakref.ref]) -> bool:
    gc.collect()
    return any(ref() is not None for ref in found)


@pytest.mark.parametrize(("then", "deleted"), [("other", ["mine"]), ("mine", [])])
def test_a_cell_is_freed(kernel, then, deleted):
    kernel.run("mine")
    found = shown()
    kernel.run("other")
    assert alive(found)
    kernel.run(then, deleted)
    assert not alive(found)


def test_a_page_that_is_opened_anew_gets_what_widgets_need_once(kernel, monkeypatch):
    loaded = []

    def extension(**options):
        loaded.append(kernel.page)
        extension._loaded = True

    extension._loaded = False
    monkeypatch.setattr(pn, "extension", extension)
    monkeypatch.setattr(notebook_cells, "_pages", set())
    for page in ("first", "first", "anew", "anew"):
        kernel.page = page
        load_into_page()
    assert loaded == ["first", "anew"]
    load_into_page(again=True)
    assert loaded == ["first", "anew", "anew"]


def test_what_a_notebook_loaded_by_itself_is_not_loaded_again(kernel, monkeypatch):
    monkeypatch.setattr(notebook_cells, "_pages", set())
    assert not needs_widgets(loaded=True)
    kernel.page = "anew"
    assert needs_widgets(loaded=True)


def test_what_is_shown_elsewhere_is_left_to_the_browser(monkeypatch):
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    notebook_cells.when_gone(pytest.fail)
    assert not notebook_cells._shown
