"""The widgets by which a visitor brings files, and chooses the part of an image that is shown."""

from __future__ import annotations

from html import escape

import panel as pn

from core.images import IMAGE_SUFFIXES
from explorer import regions
from explorer.dropper import Dropper
from explorer.elements import TOGGLE, html
from explorer.own import CHECKPOINT_SUFFIXES, FILE_MB, LIMITS, is_own
from explorer.session import Session
from explorer.sources import scale_of, without_truth
from explorer.state import CENTRE, WHOLE
from explorer.uploads import Uploads

SMALL = ".bk-btn { height: 24px; padding: 0 !important; font-size: 12px; }"
WIDE = dict(sizing_mode="stretch_width", margin=(3, 8))
ELSEWHERE = "elsewhere"
REGIONS = {"Centre": CENTRE, "Elsewhere": ELSEWHERE, "Whole image": WHOLE}
PRIVACY = "Held in memory while this page is open; nobody else sees it, and nothing is kept."


def own(session: Session) -> pn.Column:
    """Where files are dropped, and as what an image is taken."""
    uploads, p = session.uploads, session.state.param
    dropper = Dropper(
        uploads.take,
        uploads.refuse,
        accept=",".join(["image/*", *sorted(IMAGE_SUFFIXES | CHECKPOINT_SUFFIXES)]),
        most=FILE_MB * 10**6,
        **WIDE,
    )
    role = pn.widgets.RadioButtonGroup(
        options={"HR": False, "LR, no ground truth": True}, value=uploads.as_lr, **TOGGLE, **WIDE
    )
    role.param.watch(lambda event: uploads.use_as(event.new), "value")
    p.watch(lambda event: is_own(event.new) and role.param.update(value=without_truth(event.new)), "image")
    files = pn.Column(margin=0, sizing_mode="stretch_width")

    def list_files(names: list[str]) -> None:
        files.objects = [_file(uploads, name) for name in names]

    uploads.param.watch(lambda event: list_files(event.new), "names")
    return pn.Column(
        html("<label>Your own image or network</label>", margin=(6, 8, 0, 8)),
        dropper,
        files,
        pn.Row(
            html("<label>Images are</label>", margin=(9, 0, 0, 8), width=78),
            role,
            visible=uploads.param.names.rx.bool(),
            margin=0,
            sizing_mode="stretch_width",
        ),
        html(
            "<details class='note'><summary>Which files, how large, who sees them</summary>"
            f"{LIMITS} {PRIVACY}</details>",
            **WIDE,
        ),
        margin=0,
        sizing_mode="stretch_width",
    )


def _file(uploads: Uploads, name: str) -> pn.Row:
    """One file and the button that takes it away."""
    remove = pn.widgets.Button(label="Remove", width=70, margin=(0, 8, 0, 0), stylesheets=[SMALL])
    remove.on_click(lambda _: uploads.remove(name))
    text = html(f"<div class='file'>{escape(name)}</div>", sizing_mode="stretch_width", margin=(2, 8))
    return pn.Row(text, remove, margin=(2, 0), sizing_mode="stretch_width")


def region(session: Session) -> pn.Column:
    """Centre, another place, or the whole image; by buttons, by sliders, or by a tap on the image."""
    state, uploads = session.state, session.uploads
    p = state.param

    def choice(region: str) -> str:
        return region if region in (CENTRE, WHOLE) else ELSEWHERE

    def place() -> list[float]:
        return (
            [int(n) / 10 for n in state.region.split(",")] if choice(state.region) == ELSEWHERE else [50, 50]
        )

    buttons = pn.widgets.RadioButtonGroup(options=REGIONS, value=choice(state.region), **TOGGLE, **WIDE)
    across, down = (
        pn.widgets.FloatSlider(label=label, value=value, start=0, end=100, step=0.5, format="0.0", **WIDE)
        for label, value in zip(("Across / %", "Down / %"), place(), strict=True)
    )

    def chosen(event) -> None:
        if event.new == choice(state.region):
            return
        sentence = regions.too_large(state.image, scale_of(state.network)) if event.new == WHOLE else ""
        uploads.complain(sentence)
        if sentence:
            buttons.value = choice(state.region)
        else:
            state.region = "500,500" if event.new == ELSEWHERE else event.new

    def moved(axis: int, value: float) -> None:
        if choice(state.region) == ELSEWHERE:
            there = place()
            there[axis] = value
            state.region = ",".join(str(round(10 * n)) for n in there)

    def follow(_) -> None:
        buttons.value = choice(state.region)
        if choice(state.region) == ELSEWHERE:
            across.value, down.value = place()

    buttons.param.watch(chosen, "value")
    for axis, slider in enumerate((across, down)):
        slider.param.watch(lambda event, axis=axis: moved(axis, event.new), "value")
    p.watch(follow, "region")
    return pn.Column(
        html(f"<label>Region, {regions.SIDE}×{regions.SIDE} LR pixels</label>", margin=(3, 8, 0, 8)),
        buttons,
        pn.Column(
            html("<label>Tap a place, or move the sliders</label>", margin=(3, 8, 0, 8)),
            session.place.panel,
            pn.Row(across, down, sizing_mode="stretch_width", margin=0),
            visible=p.region.rx().rx.pipe(lambda region: choice(region) == ELSEWHERE),
            sizing_mode="stretch_width",
            margin=0,
        ),
        html(
            f"<p class='note'>Whole: up to {regions.WHOLE_MEGAPIXELS} megapixels of SR, beyond "
            f"{regions.TILE}×{regions.TILE} LR by tiles.</p>",
            **WIDE,
        ),
        margin=0,
        sizing_mode="stretch_width",
    )
