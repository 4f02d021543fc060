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
from explorer.choices.sweep_grid import COSTS, FIELDS, MEAN, SETS, TUNES, VALUES
from explorer.choices.visitor_files import file_name, is_uploaded, kind_of
from explorer.jobs import sweep_runs
from explorer.page.sections import TOGGLE, WEIGHT_NAMES, answering, checklist, details, html, note
from explorer.server.document_queue import held
from explorer.session import Output
from explorer.tabs.sweeper import Sweeper
from explorer.tabs.tab import Tab
from explorer.views.sweep import SELECT

QUESTION = "Which set size is enough, and what do more bits cost?"
GRID = (
    "Every combination of what is chosen here, on every image, computed on all cores of this machine. A "
    "sweep is saved by its name: it continues when you leave the page, and can be stopped and resumed."
)
FIXED = (
    "The table fixes every field that is not on an axis at its default, if the sweep has it: all layers, as "
    "many weight bits as activation bits, the 4 × 4 set, points as each method chooses them, no tuning."
)
NOTE = (
    "Lines: as many weight bits as activation bits, points as each method chooses them, by bits from the "
    "4 × 4 set. Size: weights with their scales and codebooks, the rest float. BitOPs: of one "
    "output of 1280×720 pixels. Larger grids, photographs of your own and clusters: python -m core sweep."
)
UPLOADED = (
    "With files of your own among them the sweep is yours alone: it ends, and its rows are deleted, when "
    "this page closes. Save them by CSV or Parquet."
)
TUNE_NAMES = {f"{steps} steps" if steps else "no": steps for steps in TUNES}
LAYER_NAMES = {"all together": ALL, "each alone": EACH}
WIDE = dict(sizing_mode="stretch_width", margin=0)
SMALL = dict(width=140, margin=(0, 8))
BUTTON = dict(margin=(18, 8, 0, 8))
PLACE = dict(sizing_mode="stretch_width", margin=(2, 8))


class SweepTab(Tab):
    """The figures of a sweep, its progress, and the grid of a new one."""

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
        """Return the question, what is shown and the grid of a new sweep, the figures, and the table."""
        sweeper, state = self.sweeper, self.state
        controls = pn.Column(
            _shown(sweeper, state), _progress(sweeper), _grid(sweeper), css_classes=["card"], **WIDE
        )
        return answering(QUESTION, controls, sweeper.view.panel, _details(sweeper))


def _shown(sweeper: Sweeper, state: ExplorerState) -> pn.FlexBox:
    """Return the choice of what the figures show, and of what drags on them do."""
    p = sweeper.choices.param

    def named(objects: list[str]) -> dict[str, str]:
        names = {key: name for name, key in NETWORK_NAMES.items()} | {MEAN: "mean over all"}
        return {names.get(key, file_name(key)): key for key in objects}

    def titled(sweeps: list[str]) -> dict[str, str]:
        return {sweep_runs.title(name): name for name in sweeps}

    kept = (state.param.sweep.rx() == sweep_runs.BUNDLED) | sweeper.param.running.rx()
    delete = pn.widgets.Toggle.from_param(sweeper.param.asked, width=76, disabled=kept, **BUTTON, **TOGGLE)
    sure = pn.widgets.Button(
        label="Delete it for good", width=130, visible=sweeper.param.asked, color="danger", **BUTTON
    )
    sure.on_click(held(lambda _: sweeper.delete()))
    state.param.watch(lambda _: setattr(sweeper, "asked", False), "sweep")
    select = pn.widgets.Toggle(label="Select by a box", width=124, **BUTTON, **TOGGLE)
    select.jscallback(value=SELECT)
    every = pn.widgets.Button(
        label="Select none",
        width=104,
        disabled=pn.bind(lambda chosen: chosen is None, sweeper.view.link.param.selection_expr),
        **BUTTON,
    )
    every.on_click(held(lambda _: sweeper.view.select_none()))
    return pn.FlexBox(
        pn.widgets.Select.from_param(
            state.param.sweep, label="Sweep", options=pn.bind(titled, sweeper.param.names), **SMALL
        ),
        pn.widgets.Select.from_param(
            p.shown_network, label="Network", options=pn.bind(named, sweeper.param.networks), **SMALL
        ),
        pn.widgets.Select.from_param(
            p.shown_image, label="Image", options=pn.bind(named, sweeper.param.images), **SMALL
        ),
        pn.widgets.Select.from_param(p.cost, label="Cost", options=COSTS, **SMALL),
        select,
        every,
        pn.widgets.Toggle.from_param(sweeper.param.form, width=104, **BUTTON, **TOGGLE),
        delete,
        sure,
        margin=0,
    )


def _progress(sweeper: Sweeper) -> pn.Row:
    """Return the progress of the sweep, which shows only while there is some, with Cancel or Resume."""

    def bar(report: tuple[float, str]) -> str:
        share, text = report
        fill = f"<div class='bar' style='width:{100 * share:.0f}%'></div>"
        return f"<div class='progress'>{fill}<span>{escape(text)}</span></div>" if text else ""

    resume = pn.widgets.Button(label="Resume", width=76, margin=(0, 8), visible=sweeper.param.unfinished)
    resume.on_click(held(lambda _: sweeper.go_on()))
    cancel = pn.widgets.Button(label="Cancel", width=76, margin=(0, 8), visible=sweeper.param.running)
    cancel.on_click(held(lambda _: sweeper.cancel()))
    report = html(pn.bind(bar, sweeper.param.progress), margin=(6, 8), sizing_mode="stretch_width")
    return pn.Row(
        report,
        resume,
        cancel,
        visible=pn.bind(lambda report: bool(report[1]), sweeper.param.progress),
        **WIDE,
    )


def _grid(sweeper: Sweeper) -> pn.Column:
    """Return the grid of a new sweep, folded until it is asked for."""
    p = sweeper.choices.param
    sizes = {f"{w} × {t}: {len(UniversalSet(w, t)):,} points": (w, t) for w, t in SETS}
    fields = pn.Column(
        _offered(p.networks, "Networks", {key: name for name, key in NETWORK_NAMES.items()}),
        checklist(p.methods, "Methods", **PLACE),
        checklist(p.bits, "Activation bits", **PLACE),
        checklist(p.weight_bits, "Weight bits", options=WEIGHT_NAMES, **PLACE),
        checklist(p.sets, "Universal sets, words × terms", options=sizes, **PLACE),
        checklist(p.selectors, "Selectors", **PLACE),
        checklist(p.tunes, "Tuned ranges", options=TUNE_NAMES, **PLACE),
        checklist(p.layers, "Layers", options=LAYER_NAMES, **PLACE),
        _offered(p.images, "Images", {}),
        css_classes=["fields"],
        sizing_mode="stretch_width",
    )
    start = pn.widgets.Button(
        label="Start", width=76, color="primary", disabled=sweeper.param.running, **BUTTON
    )
    start.on_click(held(lambda _: sweeper.start()))
    ahead = pn.bind(lambda text: f"<div class='note'>{escape(text)}</div>", sweeper.param.ahead)
    bar = pn.FlexBox(
        pn.widgets.TextInput.from_param(p.title, label="Name", width=140, margin=(0, 8)),
        start,
        html(ahead, margin=(26, 8, 0, 8), min_width=260),
        margin=0,
    )

    def own(*_) -> str:
        return f"<p class='note'>{UPLOADED}</p>" if sweeper.choices.own_files() else ""

    uploaded = html(pn.bind(own, p.networks, p.images), sizing_mode="stretch_width")
    return pn.Column(note(GRID), fields, bar, uploaded, visible=sweeper.param.form, **WIDE)


def _offered(parameter: param.Parameter, label: str, names: dict[str, str]) -> pn.Column:
    """Make a checklist that follows what there is to choose from, uploaded files by their names."""

    def options(*_) -> dict[str, str]:
        return {names.get(key, file_name(key)): key for key in parameter.objects}

    boxes = checklist(parameter, label, options=options(), **PLACE)
    follow = held(lambda *_: setattr(boxes[-1], "options", options()))
    parameter.owner.param.watch(follow, parameter.name, what="objects")
    return boxes


def _details(sweeper: Sweeper) -> pn.Column:
    """Return the table of any two fields, the rows as files, and the protocol."""
    p = sweeper.choices.param

    def failed(reasons: dict[str, int]) -> str:
        items = "".join(f"<li>{escape(reason)} (rows: {number:,})</li>" for reason, number in reasons.items())
        head = f"{sum(reasons.values()):,} rows have no score:"
        return f"<div class='note'>{head}<ul style='margin:2px 0'>{items}</ul></div>" if reasons else ""

    axes = pn.FlexBox(
        pn.widgets.Select.from_param(p.across, label="Across", options=FIELDS, **SMALL),
        pn.widgets.Select.from_param(p.down, label="Down", options=FIELDS, **SMALL),
        pn.widgets.Select.from_param(p.value, label="Colour", options=VALUES, **SMALL),
        _download(sweeper, "CSV", "csv"),
        _download(sweeper, "Parquet", "parquet"),
        margin=0,
    )
    protocol = pn.bind(lambda text: f"<p class='note'>{escape(text)} {NOTE}</p>", sweeper.param.protocol)
    return details(
        pn.Column(axes, sweeper.table.panel, note(FIXED), css_classes=["card"], sizing_mode="stretch_width"),
        html(pn.bind(failed, sweeper.param.reasons), sizing_mode="stretch_width"),
        html(protocol, sizing_mode="stretch_width"),
    )


def _download(sweeper: Sweeper, label: str, suffix: str) -> pn.widgets.FileDownload:
    """Make the button of a file with the rows so far."""
    return pn.widgets.FileDownload(
        callback=lambda: sweeper.content(suffix),
        filename=pn.bind(lambda name: f"{name}.{suffix}", sweeper.state.param.sweep),
        label=label,
        color="primary",
        width=90,
        **BUTTON,
    )
