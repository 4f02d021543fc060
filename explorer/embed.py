"""The explorer for networks of one's own: `explore(model)` in a notebook's cell or in a script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import param
import torch
from bokeh.themes import Theme
from panel.theme import Inherit
from panel.theme.base import DefaultTheme
from panel.viewable import Viewable
from torch import nn

from core.ptq.scope import Layers
from explorer.choices.catalog import BUNDLED, Catalog
from explorer.choices.state import ExplorerState
from explorer.given.images import Picture, given_images
from explorer.given.networks import GivenNetwork, given_network
from explorer.page.design import PageDesign
from explorer.server.notebook import Cell, CellDesign, NotebookQueue
from explorer.server.start import prepare
from explorer.visit import Visit, page

MOST_NAME = 60  # letters of a network's name
PAGE = Path(__file__).parent / "page"
CSS = {f"explorer:{name}": (PAGE / name).read_text() for name in ("app.css", "cell.css")}
TEXT = "#767C82"  # contrast above 4 to white and to black
BOTH = Theme(
    json={
        "attrs": {
            "Plot": {
                "background_fill_color": None,
                "border_fill_color": None,
                "outline_line_alpha": 0.3,
                "outline_line_color": TEXT,
            },
            "Grid": {"grid_line_color": TEXT},
            "Title": {"text_color": TEXT},
            "Axis": {
                "axis_label_text_color": TEXT,
                "major_label_text_color": TEXT,
                "axis_line_color": TEXT,
                "major_tick_line_color": TEXT,
                "minor_tick_line_color": TEXT,
            },
            "Legend": {"label_text_color": TEXT},
            "BaseColorBar": {"title_text_color": TEXT, "major_label_text_color": TEXT},
        }
    }
)


def explore(
    networks: nn.Module | Mapping[str, nn.Module],
    scale: int | Mapping[str, int] | None = None,
    *,
    range: float | Mapping[str, float] = 1.0,
    images: Mapping[str, Picture] | Iterable[Picture] | Picture | None = None,
    lr_images: Mapping[str, Picture] | Iterable[Picture] | Picture | None = None,
    layers: Layers | Mapping[str, Layers] = None,
    calibration: torch.Tensor | Iterable[torch.Tensor] | None = None,
    **choices: Any,
) -> Explorer:
    """Explore the quantization of any network that enlarges images, or of several by name.

    The result shows itself in a notebook; in a script, call its `servable()` and run `panel serve script.py`.
    It shows copies: what happens to the networks later is not seen.

    scale: by which they enlarge, found by running them if None. range: 255 where images are 0 to 255 inside.
    images: HR to look at, lr_images: LR without ground truth; tensors (1, 3, H, W) or arrays (H, W, 3) in
    [0, 1], Pillow images, paths of files and folders. layers: those to quantize, names or a predicate, by
    default as `core.quantize_model` has it. calibration: LR images (N, 3, h, w) in [0, 1], by default patches
    of the packaged photographs. scale, range and layers may be mappings by name. choices: what is chosen at
    the start, fields of `explorer.choices.state.ExplorerState`, such as `activation_bits=3`. ValueError, one
    sentence, for what cannot be explored.

    >>> import core
    >>> from explorer import explore
    >>> app = explore({"mine": core.create_model("xlsr", 3)}, scale=3, activation_bits=3)
    """
    given = _by_name(networks)
    found = []
    for name, model in given.items():
        own = (
            _own(name, given, value, default)
            for value, default in ((scale, None), (range, 1.0), (layers, None))
        )
        found.append(given_network(name, model, *own, calibration))
    return Explorer(catalog_of(found, images, lr_images), **choices)


def catalog_of(networks: Iterable[GivenNetwork], images=None, lr_images=None) -> Catalog:
    """Return a catalogue of given networks and images, and after them the bundled ones."""
    pictures = given_images(images, False) | given_images(lr_images, True)
    return Catalog({network.key: network for network in networks}, pictures).before(BUNDLED)


class NotebookTheme(DefaultTheme):
    """Figures whose text reads on light and dark, on the background around them."""

    bokeh_theme = param.Parameter(BOTH)


class NotebookDesign(CellDesign):
    """The page's style in the colours of the notebook around it."""

    own: ClassVar[dict] = CSS
    modifiers: ClassVar[dict] = {Viewable: {"stylesheets": [Inherit, *CSS]}}
    _themes: ClassVar[dict] = {"default": NotebookTheme, "dark": NotebookTheme}


class Explorer(pn.viewable.Viewer):
    """The whole explorer for a catalogue; every time it is shown it is a session of its own."""

    def __init__(self, catalog: Catalog, **choices: Any):
        super().__init__()
        self.catalog, self._choices = catalog, choices
        self._state()  # a choice that cannot be is said now

    def visit(self, queue: NotebookQueue | None = None) -> Visit:
        """Begin a session."""
        self.catalog.hold()
        try:
            return Visit(self._state(), queue=queue)
        finally:
            self.catalog.release()

    def servable(self, title=None, location=True, area="main", target=None) -> Explorer:
        """Make the page of a visitor where a script is served by `panel serve`; else do nothing."""
        if pn.state.curdoc is not None:
            prepare(PageDesign)
            self.catalog.hold()
            try:
                with pn.state.curdoc.models.freeze():  # one walk over all models instead of one for each root
                    page(self.catalog, self._choices)
            finally:
                self.catalog.release()
        return self

    def show(self, title=None, port=0, **options: Any):
        """Serve the explorer from this process and open it in the browser; options as of `pn.serve`."""
        return pn.serve(lambda: self.servable() and None, title=title, port=port, **options)

    def __panel__(self) -> pn.Column:
        """Begin a session and return its whole page without a frame, as a notebook's cell shows it."""
        visit = self.visit(queue := NotebookQueue())
        return Cell(
            *map(_without_link, visit.header),
            pn.Column(
                pn.Column(*visit.sidebar, margin=0, sizing_mode="stretch_width"),
                pn.Column(*visit.main, margin=0, sizing_mode="stretch_width"),
                css_classes=["cell"],
                margin=0,
                sizing_mode="stretch_width",
            ),
            queue=queue,
            begin=visit.session.start,
            leave=visit.session.leave,
            design=NotebookDesign(),
            css_classes=["whole"],
            sizing_mode="stretch_width",
            margin=0,
        )

    def _state(self) -> ExplorerState:
        self.catalog.hold()
        try:
            state = ExplorerState(self.catalog)
            state.choose(self._choices)
            return state
        finally:
            self.catalog.release()


def _without_link(header: pn.Row) -> pn.Row:
    """Take the button of the page's link out of a header: a cell has no address."""
    header.objects = [part for part in header if getattr(part, "label", "") != "Copy link"]
    return header


def _by_name(networks) -> dict[str, nn.Module]:
    if not isinstance(networks, Mapping):
        return {type(networks).__name__: networks}
    if not networks:
        raise ValueError("there is no network to explore; give at least one")
    for name in networks:
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MOST_NAME:
            raise ValueError(f"a network's name has 1 to {MOST_NAME} letters, got {name!r:.80}")
    return dict(networks)


def _own(name: str, given: Mapping, value, default):
    """Return what is meant for the network of that name."""
    if not isinstance(value, Mapping):
        return value
    if strangers := value.keys() - given.keys():
        raise ValueError(
            f"no network is named {', '.join(map(str, strangers))}; there are {', '.join(given)}"
        )
    return value.get(name, default)
