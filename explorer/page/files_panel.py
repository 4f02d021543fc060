"""The widgets by which a visitor loads files of their own."""

from __future__ import annotations

from html import escape

import panel as pn

from core.images import IMAGE_SUFFIXES
from explorer.choices.catalog import without_truth
from explorer.choices.file_reading import CHECKPOINT_SUFFIXES, FILE_MB, LIMITS
from explorer.choices.state import ExplorerState
from explorer.choices.uploads import Uploads
from explorer.choices.visitor_files import is_uploaded
from explorer.page.calibration_panel import calibration_panel
from explorer.page.file_drop import Dropper
from explorer.page.sections import TOGGLE, WIDE, fold, html
from explorer.pipeline.regions import TILE, WHOLE_MEGAPIXELS
from explorer.server.document_queue import held

WHOLE = f"A whole image is shown up to {WHOLE_MEGAPIXELS} megapixels of SR, above {TILE}×{TILE} LR in tiles."
PRIVACY = (
    "Files stay in memory while this page is open and are then deleted; nobody else can see them. A training "
    "or a sweep of them has a copy in a temporary folder, which goes with the page, too."
)


def files_panel(state: ExplorerState, uploads: Uploads) -> pn.Column:
    """Make the widgets: a place for files, their list, and whether images are HR or LR."""
    p = state.param
    dropper = Dropper(
        uploads.take,
        uploads.refuse,
        accept=",".join(["image/*", *sorted(IMAGE_SUFFIXES | CHECKPOINT_SUFFIXES)]),
        most=FILE_MB * 10**6,
        **WIDE,
    )
    role = pn.widgets.RadioButtonGroup(
        options={"HR": False, "LR without HR": True}, value=uploads.as_lr, **TOGGLE, **WIDE
    )
    role.param.watch(lambda event: uploads.use_as(event.new), "value")
    p.watch(
        lambda event: is_uploaded(event.new) and role.param.update(value=without_truth(event.new)), "image"
    )
    files = pn.Column(margin=0, sizing_mode="stretch_width")

    def list_files(names: list[str]) -> None:
        files.objects = [_file(uploads, name) for name in names]

    uploads.param.watch(lambda event: list_files(event.new), "names")
    return pn.Column(
        dropper,
        files,
        pn.Row(
            html("<label>Images are</label>", margin=(9, 0, 0, 8), width=78),
            role,
            visible=pn.bind(lambda _: bool(uploads.files.labels("hr")), uploads.param.names),
            margin=0,
            sizing_mode="stretch_width",
        ),
        calibration_panel(state),
        fold(
            state,
            "files",
            "Images and networks: which, how large",
            lambda: html(f"<p class='note'>{LIMITS} {PRIVACY} {WHOLE}</p>", **WIDE),
        ),
        margin=0,
        sizing_mode="stretch_width",
    )


def _file(uploads: Uploads, name: str) -> pn.Column:
    """Show one file, the button that removes it, and its res_scale if the file does not say it."""
    remove = pn.widgets.Button(label="Remove", width=70, margin=(0, 8, 0, 0), css_classes=["small"])
    remove.on_click(held(lambda _: uploads.remove(name)))
    text = html(f"<div class='file'>{escape(name)}</div>", sizing_mode="stretch_width", margin=(2, 8))
    shown = [pn.Row(text, remove, margin=(2, 0), sizing_mode="stretch_width")]
    if (known := uploads.files.res_scale(name)) is not None:
        shown.append(_res_scale(uploads, name, known))
    return pn.Column(*shown, margin=0, sizing_mode="stretch_width")


def _res_scale(uploads: Uploads, name: str, known: float) -> pn.widgets.FloatInput:
    """Make the field for the factor of an EDSR's residual blocks."""
    field = pn.widgets.FloatInput(
        label="res_scale (not in the file)", value=known, start=0.001, end=10, step=0.1, **WIDE
    )
    field.param.watch(lambda event: event.new is None or uploads.rescale(name, event.new), "value")
    return field
