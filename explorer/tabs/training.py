"""The tab on training: recorded runs that play at once, and runs of one's own."""

from __future__ import annotations

from html import escape

import panel as pn

from core.odm_config import REGULARIZERS, VERSIONS
from explorer.choices.state import OWN
from explorer.choices.visitor_files import is_own
from explorer.page.sections import html, section
from explorer.session import Session

LEAD = (
    "Quantized from float weights, then trained on: ranges and weights learn together. The regularizer makes "
    "the layers' inputs easier to quantize; ODM lets it act only where its gradient agrees with that of "
    "reconstruction. Grey: every layer; blue: the layer of the sidebar."
)
NOTE = (
    "ODM: arXiv 2307.13337, v1 and v2; PAMS: learned clipping (arXiv 2011.04212). A run of your own trains "
    "on four of the packaged photographs and is scored on the other two, in a process of its own; it stops "
    "when this page closes. On photographs of yours: python -m core.odm. Method and bits of the sidebar do "
    "not matter here."
)
VERSION_NAMES = {"ODM v2": "v2", "ODM v1": "v1", "PAMS": "pams"}
assert set(VERSION_NAMES.values()) == set(VERSIONS)


def training(session: Session) -> pn.Column:
    """Which run, its constants, the buttons, and what the view shows."""
    trainer, p = session.trainer, session.state.param
    small = dict(margin=(0, 8))
    # A run starts from a bundled network.
    own = pn.bind(lambda run, network: run == OWN and not is_own(network), p.run, p.network)

    def switch(parameter, label):
        return pn.widgets.Checkbox.from_param(parameter, label=label, margin=(24, 8, 0, 8))

    constants = pn.FlexBox(
        pn.widgets.Select.from_param(
            p.train_version, label="Method", options=VERSION_NAMES, width=110, **small
        ),
        pn.widgets.IntSlider.from_param(p.train_bits, label="Bits", width=120, **small),
        pn.widgets.Select.from_param(
            p.train_regularizer, label="Regularizer", options=list(REGULARIZERS), width=130, **small
        ),
        switch(p.train_correction, "Weight clipping corrected"),
        switch(p.train_offsets, "Distribution offsets"),
        pn.widgets.IntSlider.from_param(p.train_steps, label="Steps", step=50, width=160, **small),
        visible=own,
        margin=0,
    )
    buttons = pn.FlexBox(visible=own, margin=0)
    for label, act in (("Start", trainer.start), ("Pause", trainer.pause), ("Cancel", trainer.cancel)):
        button = pn.widgets.Button(label=label, width=90, margin=(6, 8), color="primary", variant="outline")
        button.on_click(lambda _, act=act: act())
        buttons.append(button)
    buttons.append(html(pn.bind(escape, trainer.param.text), margin=(10, 8)))
    return section(
        "Training with quantization",
        LEAD,
        pn.FlexBox(
            pn.widgets.Select.from_param(p.run, label="Run", width=220, **small),
            pn.widgets.IntSlider.from_param(p.moment, label="Moment / % of the steps", width=260, **small),
            margin=0,
        ),
        constants,
        buttons,
        trainer.view.panel,
        html(f"<p class='note'>{NOTE}</p>", sizing_mode="stretch_width"),
    )
