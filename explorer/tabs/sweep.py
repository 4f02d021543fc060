"""The tab Sweep: many configurations at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

import panel as pn
import param

from core import UniversalSet
from core.sweep.grid import ALL, EACH
from explorer.choices.catalog import NETWORK_NAMES
from explorer.choices.state import SWEEP, ExplorerState
from explorer.choices.sweep_grid import COSTS, FIELDS, MEAN, SETS, VALUES
from explorer.choices.visitor_files import file_name, is_uploaded, kind_of
from explorer.jobs import sweep_runs
from explorer.page.sections import WEIGHT_NAMES, checklist, html, section
from explorer.server.document_queue import held
from explorer.session import Output
from explorer.tabs.sweeper import Sweeper
from explorer.tabs.tab import Tab
from explorer.views.theme import columns

LEAD = (
    "Every combination of what is chosen here, on every image, computed on all cores of this machine. A "
    "sweep is saved by its name: it continues when you leave the page, and can be stopped and resumed."
)
RESULTS = "Every dot is a configuration. Tap one to open it in the other views."
FIXED = (
    "The table fixes every field that is not on an axis at its default, if the sweep has it: all layers, as "
    "many weight bits as activation bits, the 4 × 4 set, points as each method chooses them."
)
NOTE = (
    "Size: weights with their scales and codebooks, the rest float. BitOPs: of one "
    "output of 1280×720 pixels. Larger grids, photographs of your own and clusters: python -m core sweep."
)
UPLOADED = (
    "With files of your own among them the sweep is yours alone: it ends, and its rows are deleted, when "
    "this page closes. Save them by CSV or Parquet."
)
LAYER_NAMES = {"all together": ALL, "each alone": EACH}
PLACE = dict(sizing_mode="stretch_width", margin=(2, 8))


class SweepTab(Tab):
    """The grid, its progress, and the plots."""

    key = SWEEP

    def make(self) -> Sequence[Output]:
        """Make the sweeper, which follows the choices by itself."""
        session = self.session
        complain = partial(session.complain, "sweep note")
        self.sweeper = Sweeper(self.state, session.run, session.stop, complain, session.later)
        session.leaving.append(self.sweeper.leave)
        session.once_started(self.sweeper.update)
        session.uploads.param.watch(lambda *_: self._offer(), "names")
        self._offer()
        return ()

    def _offer(self) -> None:
        """Offer the visitor's files for the grid."""
        names = [self.state.param[choice].names for choice in ("network", "image")]
        own, images = ({label: key for label, key in found.items() if is_uploaded(key)} for found in names)
        images = {label: key for label, key in images.items() if kind_of(key) == "hr"}
        self.sweeper.choices.offer_uploads(own, images)

    def layout(self) -> pn.Column:
        """Return the grid and the results."""
        parts = _grid(self.sweeper, self.state), _results(self.sweeper, self.state)
        return pn.Column(*parts, sizing_mode="stretch_width", margin=0)


def _grid(sweeper: Sweeper, state: ExplorerState) -> pn.Column:
    p = sweeper.choices.param

    sizes = {f"{w} × {t}: {len(UniversalSet(w, t)):,} points": (w, t) for w, t in SETS}
    fields = columns(
        "repeat(4, minmax(0, 1fr))",
        _offered(p.networks, "Networks", {key: name for name, key in NETWORK_NAMES.items()}),
        checklist(p.methods, "Methods", **PLACE),
        checklist(p.bits, "Activation bits", **PLACE),
        checklist(p.weight_bits, "Weight bits", options=WEIGHT_NAMES, **PLACE),
        checklist(p.sets, "Universal sets, words × terms", options=sizes, **PLACE),
        checklist(p.selectors, "Selectors", **PLACE),
        checklist(p.layers, "Layers", options=LAYER_NAMES, **PLACE),
        _offered(p.images, "Images", {}),
    )
    start = pn.widgets.Button(
        label="Start", color="primary", width=76, margin=(18, 8, 0, 8), disabled=sweeper.param.running
    )
    start.on_click(lambda _: sweeper.start())
    cancel = pn.widgets.Button(
        label="Cancel", width=76, margin=(18, 8, 0, 8), disabled=sweeper.param.running.rx.not_()
    )
    cancel.on_click(lambda _: sweeper.cancel())
    ahead = pn.bind(
        lambda text: f"<div class='note' style='padding-top:26px'>{escape(text)}</div>", sweeper.param.ahead
    )
    bar = pn.FlexBox(
        pn.widgets.TextInput.from_param(p.title, label="Name", width=140, margin=(0, 8)),
        start,
        cancel,
        html(ahead, margin=(0, 8), min_width=260),
        margin=0,
    )

    def own(*_) -> str:
        return f"<p class='note'>{UPLOADED}</p>" if sweeper.choices.own_files() else ""

    note = html(pn.bind(own, p.networks, p.images), sizing_mode="stretch_width", margin=(0, 8))
    return section("Sweep", LEAD, fields, bar, note)


def _offered(parameter: param.Parameter, label: str, names: dict[str, str]) -> pn.Column:
    """Make a checklist that follows what there is to choose from, uploaded files by their names."""

    def options(*_) -> dict[str, str]:
        return {names.get(key, file_name(key)): key for key in parameter.objects}

    boxes = checklist(parameter, label, options=options(), **PLACE)
    follow = held(lambda *_: setattr(boxes[-1], "options", options()))
    parameter.owner.param.watch(follow, parameter.name, what="objects")
    return boxes


def _results(sweeper: Sweeper, state: ExplorerState) -> pn.Column:
    p = sweeper.choices.param
    small = dict(width=170, margin=(0, 8))

    def progress(report: tuple[float, str]) -> str:
        share, text = report
        if not text:
            return ""
        fill = f"<div class='bar' style='width:{100 * share:.0f}%'></div>"
        return f"<div class='progress'>{fill}<span>{escape(text)}</span></div>"

    def failed(reasons: dict[str, int]) -> str:
        items = "".join(f"<li>{escape(reason)} (rows: {number:,})</li>" for reason, number in reasons.items())
        head = f"{sum(reasons.values()):,} rows have no score:"
        return f"<div class='note'>{head}<ul style='margin:2px 0'>{items}</ul></div>" if reasons else ""

    def named(objects: list[str]) -> dict[str, str]:
        names = {key: name for name, key in NETWORK_NAMES.items()} | {MEAN: "mean over all"}
        return {names.get(key, file_name(key)): key for key in objects}

    def titled(sweeps: list[str]) -> dict[str, str]:
        return {sweep_runs.title(name): name for name in sweeps}

    delete = pn.widgets.Button(
        label="Delete",
        width=76,
        margin=(18, 8, 0, 8),
        disabled=(state.param.sweep.rx() == sweep_runs.BUNDLED) | sweeper.param.running.rx(),
    )
    delete.on_click(lambda _: sweeper.delete())
    shown = pn.FlexBox(
        pn.widgets.Select.from_param(
            state.param.sweep, label="Sweep", options=pn.bind(titled, sweeper.param.names), **small
        ),
        pn.widgets.Select.from_param(
            p.shown_network, label="Network", options=pn.bind(named, sweeper.param.networks), **small
        ),
        pn.widgets.Select.from_param(
            p.shown_image, label="Image", options=pn.bind(named, sweeper.param.images), **small
        ),
        pn.widgets.Select.from_param(p.cost, label="Cost", options=COSTS, **small),
        _download(sweeper, "CSV", "csv"),
        _download(sweeper, "Parquet", "parquet"),
        delete,
        margin=0,
    )
    axes = pn.FlexBox(
        pn.widgets.Select.from_param(p.across, label="Across", options=FIELDS, **small),
        pn.widgets.Select.from_param(p.down, label="Down", options=FIELDS, **small),
        pn.widgets.Select.from_param(p.value, label="Colour", options=VALUES, **small),
        margin=0,
    )
    protocol = pn.bind(lambda text: f"<p class='note'>{escape(text)} {NOTE}</p>", sweeper.param.protocol)
    return section(
        "Results",
        RESULTS,
        shown,
        pn.Row(
            html(pn.bind(progress, sweeper.param.progress), sizing_mode="stretch_width", margin=(6, 8)),
            _go_on(sweeper),
        ),
        sweeper.view.panel,
        axes,
        sweeper.table.panel,
        html(f"<p class='note'>{FIXED}</p>", sizing_mode="stretch_width"),
        html(pn.bind(failed, sweeper.param.reasons), sizing_mode="stretch_width"),
        html(protocol, sizing_mode="stretch_width"),
    )


def _go_on(sweeper: Sweeper) -> pn.widgets.Button:
    """Make the button that shows only where the sweep was stopped."""
    button = pn.widgets.Button(label="Resume", width=76, margin=(0, 8), visible=sweeper.param.unfinished)
    button.on_click(lambda _: sweeper.go_on())
    return button


def _download(sweeper: Sweeper, label: str, suffix: str) -> pn.widgets.FileDownload:
    """Make the button of a file with the rows so far."""
    return pn.widgets.FileDownload(
        callback=lambda: sweeper.content(suffix),
        filename=pn.bind(lambda name: f"{name}.{suffix}", sweeper.state.param.sweep),
        label=label,
        color="primary",
        width=90,
        margin=(18, 8, 0, 8),
    )
