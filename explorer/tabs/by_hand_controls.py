"""The widgets by which a person moves quantization points."""

from __future__ import annotations

import panel as pn

from explorer.choices.state import FROM_SUBSET, SNAPS
from explorer.page.sections import TOGGLE, html
from explorer.session import Session
from explorer.views.points import EDIT

HINT = (
    "With the button on: drag a point, tap an empty place to add one, tap a point and press Backspace to "
    "delete it. Or write them all. Error and picture follow."
)


def by_hand(session: Session) -> pn.Column:
    """Below the points; only for methods whose points come from the universal set."""
    p, hand = session.state.param, session.by_hand
    small = dict(margin=(0, 8))
    edit = pn.widgets.Toggle(label="Edit points", width=110, margin=(18, 8, 0, 8), **TOGGLE)
    edit.jscallback(value=EDIT)
    reset = pn.widgets.Button(
        label="Back to the optimum", disabled=p.hand.rx.not_(), width=150, margin=(18, 8, 0, 8)
    )
    reset.on_click(lambda _: hand.reset())
    written = pn.widgets.TextInput(
        label="Points by hand",
        value=hand.written(),
        placeholder="-1, -0.25, 0, 0.25, 1",
        width=230,
        **small,
    )
    written.param.watch(lambda event: event.new != hand.written() and hand.read(event.new), "value")
    session.state.param.watch(lambda _: written.param.update(value=hand.written()), "hand")
    snap = pn.widgets.RadioButtonGroup.from_param(
        p.snap, options={name: key for key, name in SNAPS.items()}, **TOGGLE
    )
    scope = pn.widgets.RadioButtonGroup.from_param(
        p.hand_layer, options={"this channel": False, "all channels of the layer": True}, **TOGGLE
    )
    return pn.Column(
        pn.FlexBox(
            edit,
            pn.Column(html("<label>Snap to</label>", **small), snap, margin=(0, 8)),
            pn.Column(html("<label>They serve</label>", **small), scope, margin=(0, 8)),
            written,
            reset,
            margin=0,
        ),
        html(f"<p class='note'>{HINT}</p>", margin=(0, 8), sizing_mode="stretch_width"),
        visible=p.method.rx().rx.in_(FROM_SUBSET),
        sizing_mode="stretch_width",
        margin=(8, 0, 0, 0),
    )
