"""The tab Deployment: from the network to an INT8 file that a phone can run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from html import escape

import panel as pn

from core.models import has_clip
from explorer.choices.catalog import name_of, spelled
from explorer.choices.state import DEPLOYMENT, ExplorerState
from explorer.choices.visitor_files import is_uploaded
from explorer.page.sections import html, section
from explorer.pipeline import activations
from explorer.pipeline import deployment as int8
from explorer.session import SHOWN, Output, Work
from explorer.tabs.tab import Tab
from explorer.views.deployment import DeploymentView

LEAD = (
    "The network in uniform INT8, run by ONNX Runtime on this machine. The range of every layer comes from "
    "the representative images; a clip at the end is not needed once the outputs span [0, 1] and no more."
)
NOTE = (
    "Representative images: patches of the packaged photographs, chosen and changed by the float network's "
    "outputs alone; our interpretation of the abstract of CFQP (arXiv 2308.11365), which has no public code. "
    "The codebooks and the normalization of dfsq do not map to INT8 convolution, so method, set and bits of "
    "the sidebar do not matter here; layers kept float do. Time: median of {runs} forwards at "
    "{width}×{height} LR pixels on {threads} thread of this machine."
)


class Int8(Output):
    """The variants of the INT8 file, their outputs, and their times."""

    name, follows = "int8", (*SHOWN, "strategy", "representatives", "float_layers", "calibration")

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = DeploymentView()

    def work(self) -> Work:
        """Show each variant, then the outputs, then the times."""
        plan, where = int8.Plan.of(self.state), (self.state.image, self.state.region)
        view = self.view

        def work(token):
            names = int8.variants(plan.network)
            yield partial(view.arrange, names)
            found = {}
            for name in names:
                found[name] = int8.outcome(plan, name, *where, token=token)
                yield partial(view.show_variant, name, found[name])
                yield partial(view.show_table, dict(found), {})
            yield partial(view.show_outputs, int8.outputs(plan, token=token))
            yield partial(view.show_table, found, int8.times(plan, token=token))

        return work


class DeploymentTab(Tab):
    """Controls, diagnosis, variants, and downloads."""

    key = DEPLOYMENT

    def make(self) -> Sequence[Output]:
        """Make the one output."""
        self.int8 = Int8(self.state)
        return (self.int8,)

    def layout(self) -> pn.Column:
        """Return controls, figures and the note."""
        p = self.state.param
        controls = pn.FlexBox(
            pn.widgets.Select.from_param(p.strategy, label="Representative images", width=220, margin=(0, 8)),
            pn.widgets.IntSlider.from_param(p.representatives, label="How many", width=180, margin=(0, 8)),
            _download(
                self.state,
                "ONNX file",
                "onnx",
                lambda plan: int8.graph(plan, int8.variants(plan.network)[-1]),
            ),
            _download(self.state, "Card (JSON)", "json", lambda plan: int8.card(plan).encode()),
            margin=0,
        )

        def free(network: str) -> str:
            if has_clip(activations.network(network)):
                return ""
            name = name_of(network) if is_uploaded(network) else spelled(name_of(network))
            return f"<p class='note'>{escape(name)} has no clip at its end, so there is none to remove.</p>"

        note = NOTE.format(
            runs=int8.RUNS,
            height=int8.TIMED[0],
            width=int8.TIMED[1],
            threads=int8.THREADS,
        )
        return section(
            "INT8 for a phone",
            LEAD,
            controls,
            html(pn.bind(free, p.network), sizing_mode="stretch_width", margin=0),
            self.int8.view.panel,
            html(f"<p class='note'>{note}</p>", sizing_mode="stretch_width"),
        )


def _download(state: ExplorerState, label: str, suffix: str, content) -> pn.widgets.FileDownload:
    """Make the button of a file that is made, or taken from the cache, when a person presses it."""

    def name(network: str, *_) -> str:
        return int8.Plan.of(state).file_name(int8.variants(network)[-1], suffix)

    p = state.param
    return pn.widgets.FileDownload(
        callback=lambda: io.BytesIO(content(int8.Plan.of(state))),
        filename=pn.bind(name, p.network, p.strategy, p.representatives, p.float_layers, p.calibration),
        label=label,
        color="primary",
        width=140,
        margin=(18, 8, 0, 8),
    )
