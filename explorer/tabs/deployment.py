"""The tab Deployment: from the network to INT8 files that a phone can run."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from functools import partial
from html import escape

import panel as pn

from core.models import has_clip
from explorer.choices.catalog import name_of, spelled
from explorer.choices.state import DEPLOYMENT, ENGINES, ExplorerState
from explorer.choices.visitor_files import is_uploaded
from explorer.export import deployment as along
from explorer.jobs.token import Token
from explorer.page.sections import TOGGLE, answering, details, html, labelled, note
from explorer.pipeline import activations
from explorer.pipeline import deployment as files
from explorer.session import SHOWN, Output, Work
from explorer.tabs.tab import Tab
from explorer.views.deployment import DeploymentView

Made = Callable[[ExplorerState, Token], bytes]
QUESTION = "What does the network lose as an INT8 file, and how fast does it run?"
CHOICES = ("strategy", "representatives", "float_layers", "calibration", "file_size")
NOTE = (
    "The file is uniform INT8: the codebooks and the normalization of dfsq do not map to INT8 convolution, "
    "so method, set and bits of the sidebar do not matter here; layers kept float do. Each range "
    "comes from the representative images: patches of the packaged photographs, chosen and changed by the "
    "float network's outputs alone, in our interpretation of the abstract of CFQP (arXiv 2308.11365), which "
    "has no public code. A clip at the end is not needed once the outputs span [0, 1] and no more."
)
ENGINES_NOTE = (
    "Both engines run on this machine, {threads} thread, {runs} forwards each in turns; the time is the "
    "median that the processor takes. A LiteRT file takes images of one size: here larger pictures run in "
    "tiles and smaller ones are padded with their edge pixels. Conversions: how often a LiteRT file turns "
    "integers into floats or back. A clip as the converter writes it runs in float between two of them; in "
    "INT8, it is an operator of its own; without it, the range saturates. What ONNX Runtime converts "
    "is its own decision when it loads the file. In the files of both, each channel between two convolutions "
    "is scaled first so that one range suits all channels of a tensor, which changes nothing in float; the "
    "ranges go from the lowest to the highest value on the representative images."
)
SCRIPT = (
    "<details class='code'><summary>Run the {} file without this project</summary><pre>{}</pre></details>"
)


class Int8(Output):
    """The variants of the file, their outputs, and their times."""

    name, follows = "int8", (*SHOWN, "engines", *CHOICES)

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = DeploymentView()

    def work(self) -> Work:
        """Show each variant, then the outputs, then the times."""
        plan, where = files.Plan.of(self.state), (self.state.image, self.state.region)
        engines, view = tuple(self.state.engines), self.view

        def work(token):
            names = files.variants(plan.network, engines)
            yield partial(view.arrange, names)
            found = {}
            for name in names:
                try:
                    found[name] = files.outcome(plan, name, *where, token=token)
                except ValueError as error:
                    yield partial(view.say, name, str(error))
                else:
                    yield partial(view.show_variant, name, found[name])
                    yield partial(view.show_table, dict(found), {})
            yield partial(view.show_outputs, files.outputs(plan, token=token))
            if found:
                yield partial(view.show_table, found, files.times(plan, tuple(found), token=token))

        return work

    def clear(self) -> None:
        """Show nothing: the status line says why."""
        self.view.clear()


class DeploymentTab(Tab):
    """Controls and downloads, variants, diagnosis."""

    key = DEPLOYMENT

    def make(self) -> Sequence[Output]:
        """Make the one output."""
        self.int8 = Int8(self.state)
        return (self.int8,)

    def layout(self) -> pn.Column:
        """Return question, controls, answer and details."""
        p, view, wide = self.state.param, self.int8.view, dict(sizing_mode="stretch_width")
        engines = pn.widgets.CheckButtonGroup.from_param(p.engines, **TOGGLE)
        controls = pn.FlexBox(
            pn.Column(labelled("Engines", engines), width=250, margin=0),
            pn.widgets.Select.from_param(p.file_size, label="Image, LR pixels", width=130, margin=(0, 8)),
            pn.widgets.Select.from_param(p.strategy, label="Representative images", width=220, margin=(0, 8)),
            pn.widgets.IntSlider.from_param(p.representatives, label="How many", width=180, margin=(0, 8)),
            margin=0,
        )
        remarks = html(pn.bind(_remarks, p.network), margin=0, **wide)
        downloads = [self._downloads(label, engine) for label, engine in ENGINES.items()]
        return answering(
            QUESTION,
            pn.Column(controls, remarks, pn.FlexBox(*downloads, margin=0), css_classes=["card"], **wide),
            view.answer,
            view.diagnosis,
            details(
                *(self._script(label, engine) for label, engine in ENGINES.items()),
                note(NOTE),
                note(ENGINES_NOTE.format(threads=files.THREADS, runs=files.RUNS)),
            ),
        )

    def _downloads(self, label: str, engine: str) -> pn.Row:
        """Make the buttons of an engine: file, card, script."""
        short = label.split()[0]

        def content(chosen: ExplorerState, token: Token) -> bytes:
            plan = files.Plan.of(chosen)
            return files.file(plan, files.offered(plan.network, engine), token=token)

        def card(chosen: ExplorerState, token: Token) -> bytes:
            where = chosen.image, chosen.region
            return along.card(files.Plan.of(chosen), engine, *where, tuple(chosen.engines), token).encode()

        def script(chosen: ExplorerState, token: Token) -> bytes:
            return along.script(files.Plan.of(chosen), engine).encode()

        parts = (("file", along.SUFFIXES[engine], content), ("card", "json", card), ("script", "py", script))
        buttons = [self._download(f"{short} {what}", engine, suffix, make) for what, suffix, make in parts]
        return pn.Row(*buttons, margin=0)

    def _download(self, label: str, engine: str, suffix: str, make: Made) -> pn.widgets.FileDownload:
        """Make the button of a file that is made, or taken from the cache, when a person presses it."""
        session, state = self.session, self.state

        def tell(what: str, share: float | None) -> None:
            session.later(lambda: session.status.set_busy("file", what, share))

        async def content() -> io.BytesIO:
            try:
                data = await asyncio.to_thread(make, state.copy(), Token(tell))
            except ValueError as error:
                session.complain("file", str(error))
                raise
            finally:
                session.later(lambda: session.status.set_done("file"))
            session.complain("file", "")
            return io.BytesIO(data)

        def name(network: str, *_) -> str:
            return files.Plan.of(state).file_name(files.offered(network, engine), suffix)

        p = state.param
        return pn.widgets.FileDownload(
            callback=content,
            filename=pn.bind(name, p.network, *(p[choice] for choice in CHOICES)),
            label=label,
            color="primary",
            disabled=not files.is_there(engine),
            width=104,
            margin=(8, 2, 0, 8),
        )

    def _script(self, label: str, engine: str) -> pn.pane.HTML:
        """Show the script of an engine below a line that opens it."""

        def text(network: str, *_) -> str:
            return SCRIPT.format(label, escape(along.script(files.Plan.of(self.state), engine)))

        p = self.state.param
        bound = pn.bind(text, p.network, *(p[choice] for choice in CHOICES))
        return html(bound, sizing_mode="stretch_width", margin=0)


def _remarks(network: str) -> str:
    """Say what is not there: a clip, or LiteRT."""
    sentences = [] if files.is_there(files.LITERT) else [f"{files.INSTALL}."]
    if not has_clip(activations.network(network)):
        name = name_of(network) if is_uploaded(network) else spelled(name_of(network))
        sentences.append(f"{name} has no clip at its end, so there is none to remove.")
    return "".join(f"<p class='note'>{escape(sentence)}</p>" for sentence in sentences)
