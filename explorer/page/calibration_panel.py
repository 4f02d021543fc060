"""The choice of the images that the network is calibrated on."""

from __future__ import annotations

import panel as pn

from explorer.choices.state import ExplorerState
from explorer.page.sections import WIDE, checklist, html

NOTE = "Patches of these decide ranges and points, and INT8's too; none ticked: the packaged photographs."


def calibration_panel(state: ExplorerState) -> pn.Column:
    """Make the list of a visitor's images to calibrate on; hidden while there are none."""
    p = state.param
    boxes = checklist(p.calibration, "Calibrate on own images", **WIDE)
    panel = pn.Column(boxes, html(f"<p class='note'>{NOTE}</p>", **WIDE), margin=0, visible=False)

    def follow(*_) -> None:
        # Boxes follow the parameter's value, not its choices.
        boxes[-1].options = dict(p.calibration.names or {})
        panel.visible = bool(p.calibration.names)

    state.param.watch(follow, "calibration", what="objects")
    follow()
    return panel
