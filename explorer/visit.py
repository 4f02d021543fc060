"""One visit: the choices of the address, a session, and its page."""

from __future__ import annotations

import weakref
from functools import partial

import panel as pn
from bokeh.models import CustomJS

from explorer.choices import catalog
from explorer.choices.links import follow, restore, uploaded_keys
from explorer.choices.region import WHOLE, Region
from explorer.choices.state import TABS, ExplorerState
from explorer.jobs.latest import QUICK
from explorer.page.design import FRAME, PageDesign
from explorer.page.sidebar import controls
from explorer.page.status_line import status_line
from explorer.pipeline import regions
from explorer.server import connection_lost
from explorer.server.address import BACK, Address
from explorer.server.document_queue import held
from explorer.server.offline import serve_styles_from_here
from explorer.session import SHOWN, Output, Session, Work
from explorer.tabs.deployment import DeploymentTab
from explorer.tabs.explore import ExploreTab
from explorer.tabs.layers import LayersTab
from explorer.tabs.methods import MethodsTab
from explorer.tabs.sweep import SweepTab
from explorer.tabs.tab import Tab
from explorer.tabs.training import TrainingTab
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
            if region != WHOLE:
                size = catalog.lr_size(image, catalog.scale_of(network))
                small = regions.thumbnail(image, token=token)
                yield partial(self.view.show, small, Region.parse(region).window(*size), size)

        network = state.network
        return work


class Visit:
    """A visitor's session with its sidebar, status line and tabs; a tab is made when it is first opened."""

    def __init__(self, state: ExplorerState, search: str = ""):
        self.session = Session(state)
        self.made: dict[str, Tab] = {}
        region_map = RegionMap(state)
        self.session.follow(region_map)
        self.sidebar = controls(state, self.session.uploads, region_map.view.panel, search)
        self.status_line = status_line(self.session.status, self.session.stop_all)
        self.tabs = self._tabs()

    def _tabs(self) -> pn.Column:
        """Make the names of the tabs as buttons, and below them the open tab alone."""
        state = self.session.state
        kinds = dict(zip(TABS, KINDS, strict=True))
        layouts: dict[str, pn.Column] = {}

        def layout(tab: str) -> pn.Column:
            if tab not in self.made:
                self.made[tab] = kinds[tab](self.session)
                layouts[tab] = self.made[tab].layout()
            return layouts[tab]

        buttons = pn.widgets.RadioButtonGroup.from_param(
            state.param.tab,
            options={tab.capitalize(): tab for tab in TABS},
            css_classes=["tabs"],
            sizing_mode="stretch_width",
            margin=(0, 0, 8, 0),
        )
        place = pn.Column(layout(state.tab), sizing_mode="stretch_width", margin=0)
        state.param.watch(held(lambda event: place.param.update(objects=[layout(event.new)])), "tab")
        return pn.Column(buttons, place, sizing_mode="stretch_width", margin=0)


def page() -> None:
    """Make the whole page of a new visitor in the current document."""
    if (document := pn.state.curdoc) is not None:
        document.js_on_event("connection_lost", CustomJS(code=connection_lost.SCRIPT))
        document.js_on_event("document_ready", CustomJS(code=BACK))
    serve_styles_from_here(document)
    state = ExplorerState()
    address = Address.of_page()
    restore(state, address.search)
    follow(address, state)
    visit = Visit(state, address.search)
    if missing := uploaded_keys(address.search):
        visit.session.uploads.missing(missing)
    template = pn.template.FastListTemplate(
        title="SR Quantization Explorer",
        design=PageDesign,
        sidebar=visit.sidebar,
        main=[visit.status_line, visit.tabs],
        sidebar_width=310,
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
