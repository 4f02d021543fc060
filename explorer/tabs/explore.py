"""The tab Explore: cause and effect on one screen, and details below."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import panel as pn

from explorer.choices.state import EXPLORE, FROM_SUBSET, LARGE
from explorer.page.sections import card, html, switch, when_open
from explorer.pipeline.protocol import protocol
from explorer.session import Output
from explorer.tabs.explore_outputs import Distributions, Mismatch, Pictures, Points
from explorer.tabs.points_by_hand import ByHand, by_hand
from explorer.tabs.tab import Tab
from explorer.views.theme import DIFFERENCE_SCALE, columns

TINY = dict(margin=0, css_classes=["tiny"])
# Part of the page -> the button that opens it and the sentence on top of it.
DETAILS = {
    "spread": ("Channels by spread", "The wider a channel beside the others, the worse a range for all."),
    "by image": ("One channel by image", "Where images differ, a range that is fixed in advance fits none."),
    "mismatch": ("Mismatch by layer", "At 0 all channels or images are alike: one range fits all."),
    "terms": ("Powers of two", "Each point as a sum of powers of two, and what a product with it costs."),
    "by hand": ("Points by hand", "Drag points in the histogram; add, type and take back here."),
    "protocol": ("How this is measured", ""),
}  # fmt: skip


class ExploreTab(Tab):
    """Distributions, points and images of one network."""

    key = EXPLORE

    def make(self) -> Sequence[Output]:
        """Make the outputs, and the points by hand."""
        state = self.state
        self.by_hand = ByHand(state, lambda sentence: self.session.complain("by hand", sentence))
        self.distributions, self.mismatch = Distributions(state), Mismatch(state)
        self.points = Points(state, self.by_hand)
        self.pictures = Pictures(state, self.points.shown)
        return self.distributions, self.points, self.pictures, self.mismatch

    def layout(self) -> pn.Column:
        """Return the four cards, and the details that are open."""
        state, view = self.state, self.points.view
        state.param.watch(lambda event: view.accept_new("by hand" in event.new), "details")
        view.accept_new(state.is_open("by hand"))
        return pn.Column(
            pn.Column(
                self._receives(),
                card(view.title, view.panel, name="points"),
                card("3 · What they cost", view.facts, view.errors, name="cost"),
                self._pictures(),
                css_classes=["look"],
                sizing_mode="stretch_width",
                margin=0,
            ),
            self._details(),
            sizing_mode="stretch_width",
            margin=0,
        )

    def _receives(self) -> pn.Column:
        p = self.state.param
        return card(
            "1 · What the layer receives",
            pn.Row(
                pn.widgets.Select.from_param(p.layer, label="Layer", sizing_mode="stretch_width", **TINY),
                pn.widgets.IntInput.from_param(p.channel, label="Channel", width=116, **TINY),
                css_classes=["form"],
                sizing_mode="stretch_width",
                margin=0,
            ),
            self.mismatch.strip.panel,
            self.distributions.heat.panel,
            name="receives",
        )

    def _pictures(self) -> pn.Column:
        state, view = self.state, self.pictures.view
        p, chips = state.param, dict(css_classes=["chips"], margin=0)
        small = pn.bind(lambda opened: LARGE not in opened, p.details)
        head = pn.FlexBox(
            html("<h2>4 · What the picture looks like</h2>", margin=0),
            pn.widgets.CheckButtonGroup.from_param(p.references, **chips),
            pn.widgets.CheckButtonGroup.from_param(p.compared_bits, options=_bits(state), **chips),
            pn.widgets.Select.from_param(p.below, label="Difference", width=180, **TINY),
            html(DIFFERENCE_SCALE, margin=0),
            view.zoom,
            switch(state, LARGE, "Large", css_classes=["chips"]),
            css_classes=["tools"],
            gap="4px 8px",
            margin=(0, 0, 4, 0),
        )
        return card(
            head,
            pn.Column(view.grid, visible=small, margin=0, sizing_mode="stretch_width"),
            when_open(state, LARGE, self._large),
            name="pictures",
        )

    def _large(self) -> pn.Column:
        p, view = self.state.param, self.pictures.view
        wide = dict(width=190, margin=(0, 0, 8, 0))
        return columns(
            "200px minmax(0, 1fr) minmax(0, 1fr)",
            pn.Column(
                pn.widgets.Select.from_param(p.left, label="Left", **wide),
                pn.widgets.Select.from_param(p.right, label="Right", **wide),
                pn.Row(view.divider, width=200, margin=0),
                html(
                    "<p class='note'>Beside them, their difference: mean |RGB| in 8-bit levels.</p>", **wide
                ),
                margin=0,
            ),
            view.swipe,
            view.difference.panel,
        )

    def _details(self) -> pn.Column:
        state, view = self.state, self.points.view
        p = state.param

        def note(*_) -> str:
            return f"<p class='note'>{escape(protocol(state))}</p>"

        content = {
            "spread": lambda: self.distributions.spread.panel,
            "by image": lambda: self.distributions.by_image.panel,
            "mismatch": lambda: columns(
                "minmax(0, 1fr) minmax(0, 1fr)", *(drawn.panel for drawn in self.mismatch.details.values())
            ),
            "terms": lambda: view.terms,
            "by hand": lambda: by_hand(state, self.by_hand),
            "protocol": lambda: html(
                pn.bind(note, p.network, p.image, p.region, p.method, p.selector, p.calibration),
                sizing_mode="stretch_width",
            ),
        }
        of_points = pn.bind(lambda method: method in FROM_SUBSET, p.method)
        buttons = [
            switch(
                state,
                key,
                title,
                css_classes=["chips"],
                visible=of_points if key in ("terms", "by hand") else True,
            )
            for key, (title, _) in DETAILS.items()
        ]
        places = [
            when_open(state, key, lambda key=key: _detail(*DETAILS[key], content[key]())) for key in DETAILS
        ]
        return pn.Column(
            pn.FlexBox(
                html("<span class='note'>Details</span>", margin=0),
                *buttons,
                css_classes=["tools"],
                gap="4px 8px",
                margin=(8, 0),
            ),
            *places,
            margin=0,
            sizing_mode="stretch_width",
        )


def _detail(title: str, sentence: str, content) -> pn.Column:
    lead = (
        [html(f"<p class='note'>{sentence}</p>", margin=0, sizing_mode="stretch_width")] if sentence else []
    )
    return card(title, *lead, content, name="detail")


def _bits(state) -> dict[str, int]:
    return {f"{bits}": bits for bits in state.param.compared_bits.objects}
