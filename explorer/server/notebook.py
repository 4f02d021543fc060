"""The explorer in a notebook's cell: one order of its changes, styles once, and an end with the cell.

In a notebook Panel sends what changes on its own models, and what Bokeh models change when it is asked to
(`push_notebook`). JupyterLab lets widgets answer in a thread of their own beside the cells' one.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import panel as pn
import param
from bokeh.document import Document
from bokeh.document.events import DocumentChangedEvent
from bokeh.models import ImportedStyleSheet, InlineStyleSheet, Model, UIElement
from panel.custom import JSComponent
from panel.io.resources import CDN_DIST, DIST_DIR, LOCAL_DIST
from panel.theme.native import Native

from explorer.server.document_queue import SENT
from explorer.server.notebook_cells import needs_widgets, when_gone

# The layouts say their sizes, as on the page; of the notebook's own Panel layouts nothing changes.
SIZING = functools.partial(pn.config.set, respect_explicit_sizing=True)


def load_into_page(again: bool = False) -> None:
    """Load what widgets need into the page of the cell under way, by default once for each page."""
    if needs_widgets(pn.extension._loaded) or again:
        pn.extension(inline=True)  # nothing is fetched from the net


class NotebookQueue:
    """A queue as `DocumentQueue`, for a cell: its calls run on the loop that last answered a widget."""

    def __init__(self):
        self.lock = threading.RLock()  # held while the cell's document changes
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shown: Callable[[], pn.viewable.Viewable | None] = lambda: None
        self._over = False

    def show(self, viewable: pn.viewable.Viewable) -> None:
        """Send changes to this one from now on."""
        self._shown = weakref.ref(viewable)

    def __call__(self, call: Callable[[], None]) -> None:
        """Queue a call, from any thread; it is made at once where nothing is shown in a running notebook."""
        if (loop := self._last_loop()) is None:
            call()
            return
        self._calls.append(call)
        loop.call_soon_threadsafe(self._make_calls)

    def once_sent(self, call: Callable[[], None]) -> None:
        """Queue a call that takes long, from the loop's thread: earlier changes are sent before it."""
        if (loop := self._last_loop()) is None:
            self(call)
        else:
            loop.call_later(SENT, self, call)

    def _last_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return this thread's loop, else the one that last called; None where there was none."""
        with contextlib.suppress(RuntimeError):  # in a thread that computes
            self._loop = asyncio.get_running_loop()
        return self._loop

    def end(self) -> None:
        """Drop all calls from now on: the cell is gone."""
        self._over = True
        self._calls.clear()

    def _make_calls(self) -> None:
        with self.lock, SIZING():
            with pn.io.block_comm():  # sent as one, below
                while self._calls and not self._over:
                    self._calls.popleft()()
            if (shown := self._shown()) is not None and not self._over:
                pn.io.push_notebook(shown)


class Shown(JSComponent):
    """Calls `then` once, when a browser shows it: what changes earlier could overtake what it changes.

    The browser says so until it is heard: its first message opens the way on the kernel's main thread, where
    it waits for all cells under way, and messages that come before it by a thread of their own are lost. So
    it says that moves wait; what widgets of the same output hold by then is sent once it is heard.
    """

    heard = param.Boolean(False, doc="Whether the browser's word has come")

    _esm = """
      const WAITS = "The cells are still running: a move waits until the last one has run.";

      export function render({ model, view, el }) {
        // Panel's manager sends back every change that came from Python, late, over what is newer there.
        const models = Bokeh.documents.flatMap((d) => [...d._all_models.values()]);
        const manager = models.find((m) => m.type === 'panel.models.comm_manager.CommManager');
        const shared = manager && Object.getPrototypeOf(manager);
        if (shared && !shared.sends_own_changes_only) {
          const send = shared._document_changed;
          shared._document_changed = function (event) { if (event.sync) send.call(this, event); };
          shared.sends_own_changes_only = true;
        }
        // Each widget's value, as if it had changed just now.
        const near = [...view.model.document._all_models.values()];
        const widgets = near.filter((m) => 'disabled' in m.properties);
        const others = {number: (v) => v + 1, string: (v) => v + ' ', boolean: (v) => !v};
        const other = (v) => Array.isArray(v) ? v.map(other) : others[typeof v]?.(v);
        const send = (widget, name) => {
          const value = widget.properties[name]?.is_unset === false ? widget[name] : null;
          if (value == null || other(value) === undefined) return;
          widget.setv({[name]: other(value)}, {silent: true});
          widget.setv({[name]: value});
        };
        model.on('heard', () => {
          el.replaceChildren();
          for (const name of ['value', 'value_throttled', 'active'])
            for (const widget of widgets) send(widget, name);
        });
        const say = () => { if (!model.heard) { model.send_msg('shown'); setTimeout(say, 500); } };
        say();
        const sentence = document.createElement('p');
        sentence.textContent = WAITS;
        sentence.style = 'margin: 0; font: 13px Helvetica, Arial, sans-serif; color: #767C82';
        setTimeout(() => { if (!model.heard) el.append(sentence); }, 1000);
      }
    """

    def __init__(self, then: Callable[[], None] = lambda: None):
        # The height is kept, so that nothing moves when the sentence goes.
        super().__init__(height=20, sizing_mode="stretch_width", margin=(0, 10))
        self._then: Callable[[], None] | None = then

    def _handle_msg(self, data: Any) -> None:
        self.heard = True
        if (then := self._then) is not None:
            self._then = None
            then()


class Sheets(dict):
    """Stylesheets by address, of Panel's and `own` ones, each as one model that holds its text.

    Panel keeps a document's stylesheets in such a dict, and asks its CDN for what is not there.
    """

    def __init__(self, own: dict[str, str]):
        super().__init__({address: _held(text) for address, text in own.items()})

    def __contains__(self, address: object) -> bool:
        return super().__contains__(address) or self._find(address)

    def _find(self, address: object) -> bool:
        if not (pn.config.inline and isinstance(address, str) and address.startswith((CDN_DIST, LOCAL_DIST))):
            return False
        file = DIST_DIR / address.removeprefix(CDN_DIST).removeprefix(LOCAL_DIST).split("?")[0]
        if not file.is_file():
            return False
        self[address] = _held(file.read_text())
        return True

    def shared(self, sheet: str | ImportedStyleSheet | InlineStyleSheet) -> Any:
        """Return the one model of a stylesheet, or the stylesheet itself."""
        if isinstance(sheet, ImportedStyleSheet):
            return self[sheet.url] if self.__contains__(sheet.url) else sheet
        text = sheet.css if isinstance(sheet, InlineStyleSheet) else sheet
        if text not in self:
            self[text] = InlineStyleSheet(css=text)
        return self[text]


def _held(text: str) -> ImportedStyleSheet:
    return ImportedStyleSheet(url=f"data:text/css;base64,{base64.b64encode(text.encode()).decode()}")


class CellDesign(Native):
    """A design of one cell, whose components share each stylesheet.

    Panel gives each component its own, and walks over all models for each that it gives: minutes for a page.
    `own`: address -> text of the design's own stylesheets, whose addresses end with ".css".
    """

    own: ClassVar[dict[str, str]] = {}

    def __init__(self, **params: Any):
        super().__init__(**params)
        self.sheets = Sheets(self.own)

    def _apply_hooks(
        self, viewable: pn.viewable.Viewable, root: Model, changed: Any, old_models: Any = None
    ) -> None:
        super()._apply_hooks(viewable, root, changed, old_models)
        document, shown = root.document, changed._models.get(root.ref["id"])
        with document.models.freeze() if document else contextlib.nullcontext():
            for model in shown[0].select({"type": UIElement}) if shown else ():
                shared = [self.sheets.shared(sheet) for sheet in model.stylesheets]
                if shared != model.stylesheets:
                    model.stylesheets = shared


class Cell(pn.Column):
    """A layout in a cell. It calls `begin` when a browser shows it and `leave` when the cell is closed."""

    def __init__(
        self,
        *objects: Any,
        queue: NotebookQueue,
        begin: Callable[[], None],
        leave: Callable[[], None],
        design: CellDesign,
        **params: Any,
    ):
        super().__init__(Shown(lambda: queue(begin)), *objects, hooks=[design._apply_hooks], **params)
        self._queue, self._leave, self._sheets = queue, leave, design.sheets
        queue.show(self)

    def get_root(self, doc: Document | None = None, comm: Any = None, preprocess: bool = True) -> Model:
        """Return the model of the whole cell."""
        if doc is not None:
            pn.state._stylesheets[doc] = self._sheets
        return super().get_root(doc, comm, preprocess)

    def _on_msg(self, ref: str, manager: Model, msg: Any) -> None:
        with self._queue.lock, SIZING():
            super()._on_msg(ref, manager, msg)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Show the layout in the cell under way, in whatever page of the browser."""
        load_into_page()
        close = weakref.WeakMethod(self._close)
        when_gone(lambda: (call := close()) and call())
        with SIZING():
            return super()._repr_mimebundle_(include, exclude)

    def _close(self) -> None:
        """Forget what is shown, as when a browser says that it shows it no more."""
        for ref, (shown, model, *_) in list(pn.state._views.items()):
            if shown is self:
                del pn.state._views[ref]
                self._cleanup(model)

    def _cleanup(self, root: Model | None = None) -> None:
        if root is None:
            super()._cleanup()
        else:
            comms, document = self._comms.get(root.ref["id"], ()), root.document
            super()._cleanup(root)
            _forget(root, comms, document)
        self._leave()


def _no_change(event: DocumentChangedEvent) -> None:
    """Stand for the listener with whom a document is destroyed; in a notebook it has none."""


def _forget(root: Model, comms: Iterable[Any], document: Document | None) -> None:
    """Take a cell's page from where Panel and the kernel would keep it: each place leads back to the cell."""
    if document is not None:
        pn.state._stylesheets.pop(document, None)
        document.on_change(_no_change)
        document.destroy(_no_change)
    if pn.state.location is not None:
        pn.state.location._cleanup(root)
    for comm in comms:
        pn.state._comm_manager._comms.pop(comm.id, None)
        if kernel := getattr(comm, "manager", None):
            kernel.targets.pop(comm.id, None)
