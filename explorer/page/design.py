"""The look of the page: the template's design, with app.css in every component."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from panel.theme import Inherit
from panel.viewable import Viewable

from explorer.server.offline import OfflineFast

FRAME = Path(__file__).with_name("frame.css").read_text()  # the look of what is around all components


class PageDesign(OfflineFast):
    """The template's design with app.css, which a document holds once for all of its components."""

    modifiers: ClassVar[dict] = {Viewable: {"stylesheets": [Inherit, "app.css"]}}
