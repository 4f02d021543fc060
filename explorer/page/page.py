"""Widgets and their places on the page."""

from __future__ import annotations

import weakref
from html import escape

import panel as pn
from bokeh.models import CustomJS
from panel import reactive
from panel.io import location
from panel.io.resources import LOCAL_DIST
from panel.theme.fast import Fast

from explorer.choices.catalog import about
from explorer.choices.links import own_keys, restore, tolerant, update_query
from explorer.choices.state import FIELDS, FROM_SUBSET, TABS, ExplorerState
from explorer.page.files_panel import own
from explorer.page.glossary import glossary
from explorer.page.region_panel import region
from explorer.page.sections import TOGGLE, WEIGHT_NAMES, html, section
from explorer.page.tour import tour
from explorer.pipeline.protocol import protocol
from explorer.server import connection_lost, keyboard
from explorer.session import Session
from explorer.tabs.by_hand_controls import by_hand
from explorer.tabs.deployment import deployment
from explorer.tabs.export_section import taking
from explorer.tabs.layers import layers
from explorer.tabs.methods import methods
from explorer.tabs.sweep_layout import sweep
from explorer.tabs.training import training
from explorer.views.theme import DIFFERENCE_SCALE, columns

# Progress and errors stay in sight wherever the page is scrolled to.
STICKY = "#main > .card-margin:first-child { position: sticky; top: 0; z-index: 5; }"
STATUS = ":host { padding: 6px 0; margin: 0 0 6px; backdrop-filter: blur(10px); }"
# It stays in its place, and lights up only for work that takes its time.
STOP = """
.bk-btn { height: 22px; min-height: 22px; padding: 0 !important; font-size: 12px;
  transition: opacity 0.1s 1s; }
.bk-btn[disabled] { transition: opacity 0.1s; }
"""
# On a narrow screen the controls are a drawer that starts closed. The template's button adds the class
# "hidden" at the first tap, so there the class opens the drawer.
DRAWER = """
@media (max-width: 800px) {
  #sidebar:not(.hidden) { display: none; }
  #sidebar.hidden {
    position: fixed; z-index: 20; height: calc(100% - 76px); min-width: 310px !important;
    padding: 15px 10px 5px 5px; overflow-y: auto; background: var(--background-color, canvas);
    box-shadow: 4px 0 16px rgba(0, 0, 0, 0.4);
  }
  #main { padding: 0 6px; }
  fast-tooltip { display: none; }
  .app-header .title { font-size: 17px; }
}
"""
# On a narrow screen all names fit in one row.
NARROW_TABS = "@media (max-width: 800px) { .bk-tab { padding: 4px 5px !important; font-size: 13px; } }"


# Nothing is loaded from the net: Panel's Fast design would fetch a web font, and what changes while no page
# shows it would take its styles from Panel's CDN.
Fast._resources.pop("font", None)
reactive.CDN_DIST = LOCAL_DIST
location.parse_query = tolerant(location.parse_query)
location.Location.update_query = update_query


def page() -> pn.template.FastListTemplate:
    """The whole page of a new visitor."""
    if (document := pn.state.curdoc) is not None:
        document.js_on_event("connection_lost", CustomJS(code=connection_lost.SCRIPT))
        document.js_on_event("document_ready", CustomJS(code=keyboard.SCRIPT))
        # Panel's own styles come from here too where a websocket makes the page: of a session that Bokeh had
        # forgotten before it was opened.
        document.template_variables["dist_url"] = LOCAL_DIST
    state = ExplorerState()
    search, missing = "", []
    if address := pn.state.location:
        search = address.search
        missing = own_keys(search)
        address.search = restore(state, search)
        address.sync(state, FIELDS)
    session = Session(state)
    if missing:
        session.uploads.missing(missing)
    template = pn.template.FastListTemplate(
        title="SR Quantization Explorer",
        sidebar=controls(session, search),
        main=[status_line(session), tabs(session)],
        sidebar_width=310,
        main_layout=None,
        font="Helvetica, Arial, sans-serif",
        accent_base_color="#0072B2",
        header_background="#1d2733",
        raw_css=[STICKY, DRAWER, connection_lost.STYLE],
        busy_indicator=None,
        meta_viewport="width=device-width, initial-scale=1",  # without it phones show the wide page, shrunk
    )
    template.config.js_files = {"lost": connection_lost.PAGE}
    # Weakly: a visitor who never opens the websocket would otherwise stay for good.
    start = weakref.WeakMethod(session.start)
    pn.state.onload(lambda: (call := start()) and call())
    return template


def controls(session: Session, search: str = "") -> list:
    """The sidebar of a page that was asked for with that `search`."""
    p = session.state.param
    wide = dict(sizing_mode="stretch_width", margin=(3, 8))

    def set_size(*chosen: object) -> str:
        candidates = session.state.candidates()
        doubled = " with doubles" if candidates.doubled else ""
        step = f"grid step 1/{round(1 / candidates.step):,}"
        return f"<span class='note'>{len(candidates):,} points{doubled}, {step}</span>"

    def buttons(parameter, **options):
        return pn.Column(
            html(f"<label>{options.pop('label')}</label>", margin=(3, 8, 0, 8)),
            pn.widgets.RadioButtonGroup.from_param(parameter, **TOGGLE, **wide, **options),
            margin=0,
            sizing_mode="stretch_width",
        )

    channel = pn.widgets.IntSlider.from_param(p.channel, label="Channel", **wide)
    subset = pn.Column(
        pn.Row(
            pn.widgets.IntSlider.from_param(p.words, label="Words", **wide),
            pn.widgets.IntSlider.from_param(p.terms, label="Terms", **wide),
        ),
        html(pn.bind(set_size, p.words, p.terms, p.method), margin=(0, 8)),
        buttons(p.selector, label="Selector"),
        visible=p.method.rx().rx.in_(FROM_SUBSET),
        margin=0,
        sizing_mode="stretch_width",
    )
    return [
        html(tour(search) + glossary(), margin=(0, 8, 4, 8), sizing_mode="stretch_width"),
        pn.widgets.Select.from_param(p.network, label="Network", **wide),
        html(pn.bind(lambda key: f"<p class='note'>{escape(about(key))}</p>", p.network), margin=(0, 8)),
        pn.widgets.Select.from_param(p.image, label="Image", **wide),
        region(session),
        own(session),
        pn.widgets.IntSlider.from_param(p.activation_bits, label="Activation bits", **wide),
        pn.widgets.Select.from_param(p.weight_bits, label="Weight bits", options=WEIGHT_NAMES, **wide),
        pn.widgets.Select.from_param(p.method, label="Method", **wide),
        subset,
        pn.widgets.Select.from_param(p.layer, label="Layer", **wide),
        channel,
        pn.widgets.MultiChoice.from_param(p.float_layers, label="Keep float", **wide),
        pn.Column(
            html("<label>Bit-widths compared</label>", margin=(3, 8, 0, 8)),
            pn.widgets.CheckButtonGroup.from_param(p.compared_bits, **TOGGLE, **wide),
            margin=0,
            sizing_mode="stretch_width",
        ),
    ]


def tabs(session: Session) -> pn.Tabs:
    """The parts of the dashboard, each made when it is first opened; only the open one is drawn."""
    state = session.state
    parts = dict(zip(TABS, (explore, methods, layers, training, sweep, deployment), strict=True))
    places = {tab: pn.Column(sizing_mode="stretch_width", margin=0) for tab in TABS}

    def build(tab: str) -> None:
        if not places[tab].objects:
            places[tab].append(parts[tab](session))

    build(state.tab)
    shown = pn.Tabs(
        *((tab.capitalize(), place) for tab, place in places.items()),
        active=TABS.index(state.tab),
        dynamic=True,
        stylesheets=[NARROW_TABS, keyboard.FOCUS],
        sizing_mode="stretch_width",
        margin=0,
    )
    shown.param.watch(lambda event: state.param.update(tab=TABS[event.new]), "active")
    state.param.watch(
        lambda event: (build(event.new), shown.param.update(active=TABS.index(event.new))), "tab"
    )
    return shown


def status_line(session: Session) -> pn.Column:
    """Progress and errors."""
    status = session.status

    def progress(busy: dict, stopped: bool) -> str:
        if not busy:
            text = "Stopped before it was done; any change goes on" if stopped else "Ready"
            return f"<div class='progress'><div class='bar' style='width:0'></div><span>{text}</span></div>"
        # A job that has begun, if any; else one that waits for its turn.
        what, share = max(busy.values(), key=lambda job: (bool(job[0]) and job[1] is not None, bool(job[0])))
        percent = round(100 * (share or 0))
        if share is None or not what:
            label = f"<span class='late'>{escape(what) or 'Working'} …</span>"
        else:
            label = f"<span>{escape(what)} … {percent} %</span>"
        return f"<div class='progress'><div class='bar' style='width:{percent}%'></div>{label}</div>"

    def errors(found: dict) -> str:
        return "".join(
            f"<div class='error'>{escape(sentence)}</div>" for sentence in dict.fromkeys(found.values())
        )

    stop = pn.widgets.Button(
        label="Stop",
        disabled=status.param.busy.rx.not_(),
        width=56,
        margin=(0, 0, 0, 8),
        stylesheets=[STOP, keyboard.FOCUS],
    )
    stop.on_click(lambda _: session.stop_all())
    return pn.Column(
        pn.Row(
            html(
                pn.bind(progress, status.param.busy, status.param.stopped),
                sizing_mode="stretch_width",
                margin=0,
                height=22,
            ),
            stop,
            sizing_mode="stretch_width",
            margin=0,
        ),
        html(pn.bind(errors, status.param.errors), sizing_mode="stretch_width", margin=0),
        sizing_mode="stretch_width",
        stylesheets=[STATUS],
    )


def explore(session: Session) -> pn.Column:
    """Distributions, points and images of one network."""
    state, images = session.state, session.images
    p = state.param
    reset = pn.widgets.Button(label="Reset zoom", margin=(18, 8, 0, 8))
    reset.on_click(lambda _: images.window.reset())
    side = dict(width=118, margin=(0, 8))
    compare = columns(
        "minmax(0, 1fr) minmax(0, 1fr)",
        pn.Column(
            pn.FlexBox(
                pn.widgets.Select.from_param(p.left, label="Left", **side),
                pn.widgets.Select.from_param(p.right, label="Right", **side),
                images.divider,
                reset,
                margin=0,
                min_height=60,
            ),
            images.swipe,
            sizing_mode="stretch_width",
            margin=0,
        ),
        pn.Column(
            html(
                "<label>Difference of left and right, mean |RGB| in 8-bit levels</label>" + DIFFERENCE_SCALE,
                height=60,
                margin=(0, 8),
            ),
            images.difference.panel,
            sizing_mode="stretch_width",
            margin=0,
        ),
    )
    session.points.main.append(by_hand(session))
    note = pn.bind(
        lambda *_: f"<p class='note'>{escape(protocol(state))}</p>", p.network, p.image, p.region, p.method
    )
    return pn.Column(
        section(
            "Distributions",
            "What the layer receives in the float network. The more its channels and images differ in "
            "spread, the harder it is to quantize. Tap a channel.",
            session.distributions.panel,
            session.mismatch.panel,
        ),
        section(
            "Points",
            "Where the quantization points lie among the channel's activations, and what each selector's "
            "choice costs.",
            session.points.panel,
        ),
        section(
            "Images",
            "The same picture from the float and the quantized networks. Drag and scroll: all zoom at once.",
            images.grid,
            compare,
            html(note, sizing_mode="stretch_width"),
        ),
        taking(session),
        sizing_mode="stretch_width",
        margin=0,
    )
