"""One visit: the choices of the address, a session, and its page."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import panel as pn
from bokeh.models import CustomJS

from explorer.choices.catalog import BUNDLED, Catalog, lr_size, scale_of
from explorer.choices.region import Region
from explorer.choices.state import FIELDS, TABS, ExplorerState
from explorer.choices.url import follow, restore, uploaded_keys
from explorer.jobs.latest import QUICK
from explorer.page.design import FRAME, PageDesign
from explorer.page.glossary import glossary
from explorer.page.header import header, popover
from explorer.page.sections import html
from explorer.page.sidebar import controls, sheet
from explorer.page.status_line import error_list
from explorer.pipeline import regions
from explorer.server import connection_lost
from explorer.server.address import BACK, Address
from explorer.server.notebook import NotebookQueue
from explorer.server.offline import serve_styles_from_here
from explorer.session import SHOWN, Output, Session, Work
from explorer.tabs.deployment import DeploymentTab
from explorer.tabs.explore import ExploreTab
from explorer.tabs.export_section import export_section
from explorer.tabs.layers import LayersTab
from explorer.tabs.methods import MethodsTab
from explorer.tabs.sweep import SweepTab
from explorer.tabs.tab import Tab
from explorer.tabs.training import TrainingTab
from explorer.views import theme
from explorer.views.canvas import show_only
from explorer.views.region_map import PlaceView

# In the order of TABS.
KINDS: list[type[Tab]] = [ExploreTab, MethodsTab, LayersTab, TrainingTab, SweepTab, DeploymentTab]
assert [kind.key for kind in KINDS] == TABS


class RegionMap(Output):
    """The small map that shows where on the image the region is."""

    name, follows, pool = "place", SHOWN, QUICK

    def __init__(self, state: ExplorerState):
        super().__init__(state)
        self.view = PlaceView(lambda region: state.param.update(region=region))

    def work(self) -> Work:
        """Mark the region on the thumbnail."""
        state = self.state
        image, region = state.image, state.region

        def work(token):
            size = lr_size(image, scale_of(network))
            small = regions.thumbnail(image, token=token)
            yield partial(self.view.show, small, Region.parse(region).window(*size), size)

        network = state.network
        return work


class Visit:
    """A visitor's session with its sidebar, header and tabs; a tab is made when it is first opened."""

    def __init__(self, state: ExplorerState, queue: NotebookQueue | None = None):
        state.catalog.hold()
        self.session = Session(state, queue)
        self.session.leaving.append(state.catalog.release)
        self.made: dict[str, Tab] = {}
        region_map = RegionMap(state)
        self.session.follow(region_map)
        self.sidebar = controls(state, self.session.uploads, region_map.view.panel)
        self.header = header(state, self.session.status, self.session.stop_all)
        self.main = [
            error_list(self.session.status),
            popover(state, "export", lambda: export_section(self.session)),
            popover(state, "words", lambda: html(glossary(), sizing_mode="stretch_width", margin=0)),
            self._open_tab(),
            sheet(state),
        ]

    def refuse(self, names: Sequence[str]) -> None:
        """Say which choices of a link cannot be, until another choice is made."""
        say, state = partial(self.session.complain, "link"), self.session.state
        what = ", ".join(name.replace("_", " ") for name in names)
        say(f"This link asks for what is not here ({what}); choose it anew, the default is shown")
        state.param.watch(lambda *_: say(""), FIELDS)

    def _open_tab(self) -> pn.Column:
        """Return the place of the open tab."""
        state = self.session.state
        kinds, session = dict(zip(TABS, KINDS, strict=True)), self.session
        layouts: dict[str, pn.Column] = {}
        place = pn.Column(sizing_mode="stretch_width", margin=0)

        def show(tab: str) -> None:
            if tab not in self.made:
                self.made[tab] = kinds[tab](session)
                layouts[tab] = self.made[tab].layout()
            show_only(place, [layouts[tab]])

        def change(tab: str) -> None:
            # At once: the old tab would look ready until the other one comes.
            session.status.set_busy("page", "", 0.0)
            place.styles = theme.DIMMED
            session.later.once_sent(partial(show_latest, tab))

        def show_latest(tab: str) -> None:
            if tab == state.tab:  # else another was chosen since, which comes next
                try:
                    show(tab)
                finally:
                    session.later(partial(ready, tab))

        def ready(tab: str) -> None:
            if tab == state.tab:
                place.styles = theme.SHOWN
                session.status.set_done("page")

        show(state.tab)
        state.param.watch(lambda event: change(event.new), "tab")
        return place


def page(catalog: Catalog = BUNDLED, choices: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Make the whole page of a new visitor in the current document; `choices`: at the start."""
    if (document := pn.state.curdoc) is not None:
        document.js_on_event("connection_lost", CustomJS(code=connection_lost.SCRIPT))
        document.js_on_event("document_ready", CustomJS(code=BACK))
    serve_styles_from_here(document)
    state = ExplorerState(catalog)
    state.choose(choices)
    address = Address.of_page()
    refused = restore(state, address.search)
    follow(address, state)
    visit = Visit(state)
    if missing := [key for key in uploaded_keys(address.search) if key not in catalog.keys]:
        visit.session.uploads.missing(missing)
    elif refused:
        visit.refuse(refused)
    template = pn.template.FastListTemplate(
        title="SR Quantization Explorer",
        design=PageDesign,
        sidebar=visit.sidebar,
        header=visit.header,
        main=visit.main,
        sidebar_width=264,
        main_layout=None,
        font="Helvetica, Arial, sans-serif",
        accent_base_color="#0072B2",
        header_background="#1d2733",
        raw_css=[FRAME],
        busy_indicator=None,
        meta_viewport="width=device-width, initial-scale=1",  # without it phones show the wide page, shrunk
    )
    template.config.js_files = {"lost": connection_lost.PAGE}
    # Weakly: a visitor who never opens the websocket would otherwise stay for good.
    start = weakref.WeakMethod(visit.session.start)
    pn.state.onload(lambda: (call := start()) and call())
    template.servable(location=address)
