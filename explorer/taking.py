"""The section by which a person takes the state along."""

from __future__ import annotations

import io
from collections.abc import Callable
from html import escape

import panel as pn

from explorer import take_away
from explorer.elements import html, section
from explorer.session import Session
from explorer.state import ExplorerState

LEAD = "The link to this page holds all choices. The files are of the network at the bits of the sliders."
CODE = """<style>pre {{ font-size: 12px; overflow-x: auto; margin: 6px 0; padding: 8px 10px;
border: 1px solid var(--line); border-radius: 6px }} summary {{ cursor: pointer; font-size: 13px }}</style>
<details><summary>The same in Python</summary><pre>{}</pre></details>"""
COPY = """
const button = cb_obj.origin ?? cb_obj, label = button.label;
navigator.clipboard.writeText(location.href).then(
  () => { button.label = 'Copied'; setTimeout(() => { button.label = label; }, 1500); },
  () => { prompt('The link:', location.href); });
"""
FIELDS = (
    "network", "image", "region", "activation_bits", "weight_bits", "method", "words", "terms", "selector",
    "layer", "channel", "float_layers", "hand", "hand_layer",
)  # fmt: skip


def taking(session: Session) -> pn.Column:
    """Link, Python, pictures, levels, network and report."""
    state = session.state
    copy = pn.widgets.Button(label="Copy link", width=110, margin=(6, 8), color="primary", variant="outline")
    copy.js_on_click(code=COPY)

    def file(label: str, make: Callable[[ExplorerState], bytes], ending: str) -> pn.widgets.FileDownload:
        def content() -> io.BytesIO:
            try:
                data = make(state)
            except ValueError as error:
                session.status.set_error("take away", str(error))
                raise
            session.status.set_error("take away", "")
            return io.BytesIO(data)

        name = pn.bind(lambda *_: f"{take_away.stem(state)}{ending}", *(state.param[f] for f in FIELDS[:6]))
        return pn.widgets.FileDownload(
            callback=content, filename=name, label=label, color="primary", width=150, margin=(6, 8)
        )

    written = pn.bind(lambda *_: CODE.format(escape(_code(state))), *(state.param[f] for f in FIELDS))
    return section(
        "Take it away",
        LEAD,
        pn.FlexBox(
            copy,
            file("Pictures (ZIP)", take_away.archive, ".zip"),
            file("Levels (CSV)", take_away.levels, "_levels.csv"),
            file("Quantized network", take_away.checkpoint, ".safetensors"),
            file("Report (HTML)", take_away.report, ".html"),
            margin=0,
        ),
        html(written, sizing_mode="stretch_width"),
    )


def _code(state: ExplorerState) -> str:
    try:
        return take_away.code(state)
    except ValueError as error:
        return f"# {error}"
