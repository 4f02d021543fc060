"""The resources of a page that asks no other host for anything."""

from __future__ import annotations

from typing import ClassVar

from bokeh.document import Document
from panel import reactive
from panel.io.resources import CDN_DIST, LOCAL_DIST
from panel.theme.fast import Fast


class OfflineFast(Fast):
    """Panel's Fast design without its web font.

    Panel looks for a design's script in a folder of the class's name; an address of its CDN it finds in what
    it brings along.
    """

    _resources: ClassVar[dict] = {
        kind: files for kind, files in Fast._resources.items() if kind != "font"
    } | {
        "js_modules": Fast._resources["js_modules"]
        | {"fast-design": f"{CDN_DIST}bundled/fast/js/fast_design.js"}
    }


def serve_styles_from_here(document: Document | None) -> None:
    """Let Panel's own styles come from this server, also where it would take its CDN's.

    It does for what changes while no page shows it, and for a session that Bokeh had forgotten before its
    websocket was opened, whose page the websocket makes.
    """
    reactive.CDN_DIST = LOCAL_DIST
    if document is not None:
        document.template_variables["dist_url"] = LOCAL_DIST
