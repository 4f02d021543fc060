"""The part of the image that is shown: centre, whole, or where a person taps."""

from __future__ import annotations

import panel as pn

from explorer.choices.catalog import scale_of
from explorer.choices.state import CENTRE, WHOLE, ExplorerState
from explorer.choices.uploads import Uploads
from explorer.page.sections import TOGGLE, WIDE, html
from explorer.pipeline import regions

ELSEWHERE = "elsewhere"
REGIONS = {"Centre": CENTRE, "Elsewhere": ELSEWHERE, "Whole image": WHOLE}


def region(state: ExplorerState, uploads: Uploads, small_map: pn.Column) -> pn.Column:
    """Centre, another place, or the whole image; by buttons, by sliders, or by a tap on the small map."""
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
            small_map,
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
