"""The section Export: link, script and files of the state."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from html import escape

import panel as pn

from explorer.choices.state import ExplorerState
from explorer.export import files, interactive, report, script
from explorer.jobs.token import Token
from explorer.page.sections import html, section
from explorer.session import Session

LEAD = "The address of this page holds all choices. The files are of the network at the bits of the sliders."
CODE = "<details class='code'><summary>The same in Python</summary><pre>{}</pre></details>"


def export_section(session: Session) -> pn.Column:
    """Make the section with Python, pictures, levels, network and report."""
    state = session.state

    def tell(what: str, share: float | None) -> None:
        session.later(lambda: session.status.set_busy("take away", what, share))

    def file(label: str, make: Callable[[ExplorerState, Token], bytes]) -> pn.widgets.FileDownload:
        async def content() -> io.BytesIO:
            try:
                data = await asyncio.to_thread(make, state.copy(), Token(tell))
            except ValueError as error:
                session.status.set_error("take away", str(error))
                raise
            finally:
                session.later(lambda: session.status.set_done("take away"))
            session.status.set_error("take away", "")
            return io.BytesIO(data)

        return pn.widgets.FileDownload(
            callback=content, filename="file", label=label, color="primary", width=190, margin=(6, 8)
        )

    buttons = {
        ".zip": file("Pictures (ZIP)", files.archive),
        "_levels.csv": file("Levels (CSV)", files.levels),
        ".safetensors": file("Quantized network", files.checkpoint),
        ".html": file("Report (HTML)", report.report),
        "_interactive.html": file("Interactive page (HTML)", interactive.interactive),
    }
    written = html("", sizing_mode="stretch_width")

    def follow(busy: dict) -> None:
        """Update once nothing is under way: points and pictures come first."""
        if not busy:
            written.object = CODE.format(escape(_code(state)))
            for ending, button in buttons.items():
                button.filename = f"{script.stem(state)}{ending}"

    follow({})
    session.status.param.watch(lambda event: follow(event.new), "busy")
    return section("Export", LEAD, pn.FlexBox(*buttons.values(), margin=0), written)


def _code(state: ExplorerState) -> str:
    try:
        return script.code(state)
    except ValueError as error:
        return f"# {error}"
