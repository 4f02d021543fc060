"""The widgets for the part of the image that is shown: centre, whole, or where a person taps."""

from __future__ import annotations

import panel as pn
import param

from explorer.choices.catalog import scale_of
from explorer.choices.region import CENTRE, ELSEWHERE, WHOLE, Region
from explorer.choices.state import ExplorerState
from explorer.choices.uploads import Uploads
from explorer.page.sections import WIDE, html
from explorer.pipeline import regions


class RegionChoice(param.Parameterized):
    """The region of the state as the values of three widgets; each follows the other."""

    kind = param.Selector(objects={"Centre": CENTRE, "Elsewhere": ELSEWHERE, "Whole image": WHOLE})
    across = param.Number(50, bounds=(0, 100), step=0.5, doc="Of its middle, in percent of the width")
    down = param.Number(50, bounds=(0, 100), step=0.5, doc="In percent of the height")

    def __init__(self, state: ExplorerState, uploads: Uploads):
        super().__init__()
        self._state, self._uploads = state, uploads
        self._read()
        state.param.watch(self._read, "region")
        self.param.watch(self._write, ["kind", "across", "down"])

    def _read(self, *_) -> None:
        kind, x, y = Region.parse(self._state.region)
        self.param.update(kind=kind, across=x / 10, down=y / 10)

    def _write(self, *_) -> None:
        state, region = self._state, Region(self.kind, round(10 * self.across), round(10 * self.down))
        if str(region) == state.region:
            return
        sentence = regions.too_large(state.image, scale_of(state.network)) if self.kind == WHOLE else ""
        self._uploads.complain(sentence)
        if sentence:
            self._read()
        else:
            state.region = str(region)


def region(state: ExplorerState, uploads: Uploads, small_map: pn.Column) -> pn.Column:
    """Make the widgets: a small map to tap, buttons for centre, elsewhere or whole, sliders for elsewhere."""
    p = RegionChoice(state, uploads).param
    slider = dict(format="0.0", **WIDE)
    kinds = pn.widgets.RadioButtonGroup.from_param(
        p.kind, orientation="vertical", css_classes=["chips"], margin=0, width=104
    )
    return pn.Column(
        pn.Row(
            small_map,
            pn.Column(
                html("<label>Tap a place, or</label>", margin=(0, 0, 4, 0)), kinds, margin=(0, 0, 0, 8)
            ),
            margin=(3, 8),
        ),
        pn.Row(
            pn.widgets.FloatSlider.from_param(p.across, label="Across / %", **slider),
            pn.widgets.FloatSlider.from_param(p.down, label="Down / %", **slider),
            visible=p.kind.rx() == ELSEWHERE,
            sizing_mode="stretch_width",
            margin=0,
        ),
        margin=0,
        sizing_mode="stretch_width",
    )
