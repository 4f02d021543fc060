"""What explorer/server works around is still so; a test that fails here says which hook can go."""

import inspect
from pathlib import Path

import panel as pn
import pytest
from bokeh.core.property.bases import Property
from bokeh.core.property.descriptors import PropertyDescriptor
from bokeh.document import Document
from bokeh.models import Button, InlineStyleSheet, UIElement
from bokeh.server import connection
from bokeh.server.views import ws
from panel import reactive
from panel.io import document
from panel.io.location import Location
from panel.io.notebook import patch_inline_stylesheets
from panel.io.resources import CDN_DIST
from panel.reactive import Syncable
from panel.theme.fast import Fast
from pyviz_comms import Comm

from explorer.page.design import PageDesign
from explorer.server.address import Address


def test_bokeh_does_not_send_at_once():
    assert "set_nodelay" not in inspect.getsource(ws)


def test_panel_writes_later_where_the_socket_is_busy():
    """The two writers, and the wait of the one, in which the other can overtake it."""
    source = inspect.getsource(document)
    assert "if isinstance(event, DocumentPatchedEvent) and not locked" in source
    assert "await asyncio.sleep(0.01)" in source
    assert {"write_events", "schedule_write_events"} <= set(vars(document))
    assert "return self._socket.send_message(msg)" in inspect.getsource(connection.ServerConnection)


def test_bokeh_does_not_keep_defaults(monkeypatch):
    asked, button = [], Button()
    work_out = Property.themed_default

    def counted(descriptor, *args, **options):
        asked.append(descriptor)
        return work_out(descriptor, *args, **options)

    plain = inspect.unwrap(PropertyDescriptor._get_default)  # a test before may have served the dashboard
    monkeypatch.setattr(PropertyDescriptor, "_get_default", plain)
    monkeypatch.setattr(Property, "themed_default", counted)
    assert [button.visible, button.visible] == [True, True]
    assert len(asked) == 2


def test_panel_still_waits_by_this_name():
    assert "_debounce" in Syncable.__annotations__


def test_panel_asks_other_hosts():
    assert any("//" in address for address in Fast._resources["font"].values())
    assert CDN_DIST.startswith("https:")
    assert "dist_url = CDN_DIST" in inspect.getsource(reactive.Reactive)
    found = PageDesign().resolve_resources()
    addresses = [
        address for kind in ("css", "js", "js_modules", "font") for address in found.get(kind, {}).values()
    ]
    assert any(address.endswith("fast_design.js") for address in addresses)
    assert not [address for address in addresses if address.startswith(("http", "//"))]


def test_panel_fails_at_strange_links():
    with pytest.raises(ValueError, match="invalid literal"):
        Location().search = "?words=²"
    Address().search = "?words=²"


def test_panel_sends_back_what_came_from_python():
    script = (Path(pn.__file__).parent / "models" / "comm_manager.ts").read_text()
    listener = script.partition("_document_changed(event: DocumentChangedEvent): void {")[2].partition(
        "}\n\n"
    )[0]
    assert "syncable" in listener
    assert "event.sync" not in listener


def test_panel_gives_each_component_its_styles():
    """In a notebook, two buttons hold the text of Panel's stylesheets twice."""
    with pn.config.set(inline=True):
        root = pn.Row(pn.widgets.Button(), pn.widgets.Button()).get_root(Document(), Comm())
        for model in root.select({"type": UIElement}):
            patch_inline_stylesheets(model)
    sheets = [sheet for model in root.children for sheet in model.stylesheets]
    texts = [sheet.css for sheet in sheets if isinstance(sheet, InlineStyleSheet)]
    assert len(texts) > len(set(texts))
