"""A report: what the page shows, as one HTML file."""

from __future__ import annotations

import base64

from bokeh.embed import file_html
from bokeh.resources import INLINE

from core import QuantConfig
from explorer.choices.catalog import name_of, scale_of
from explorer.choices.region import Region
from explorer.choices.state import ExplorerState
from explorer.choices.visitor_files import file_name
from explorer.export.files import png, shown
from explorer.export.script import code
from explorer.export.templates import TEMPLATES
from explorer.jobs.token import Token
from explorer.pipeline import activations, points
from explorer.pipeline.names import weights_and_activations
from explorer.pipeline.pictures import Picture
from explorer.pipeline.protocol import protocol
from explorer.views.distributions import DistributionsView
from explorer.views.format import against, decibel, of_tiles
from explorer.views.points import PointsView


def report(state: ExplorerState, token: Token | None = None) -> bytes:
    """Write choices, pictures, distributions, points and the code as an HTML file that needs no other."""
    config = state.configs()(state.activation_bits)
    own = tuple(state.calibration)
    distribution, levels = DistributionsView(lambda channel: None), PointsView()
    distribution.show(activations.distribution(state.network, state.layer, own, token=token), state.channel)
    where = (state.network, state.layer, state.channel, config, state.by_hand(), state.hand_layer, True, own)
    levels.show(points.points(*where, token=token))
    return file_html(
        [*distribution.figures, *levels.figures],
        title=f"Quantization of {name_of(state.network)}",
        template=TEMPLATES.get_template("report.html.jinja"),
        # Bokeh itself, not what Panel's models ask for besides: of these none is here, and they are files.
        template_variables={
            "bokeh": "\n".join(INLINE.clone(components=["bokeh"]).js_raw),
            "choices": _choices(state, config),
            "protocol": protocol(state),
            "pictures": shown(state, token),
            "data_url": _data_url,
            "decibel": decibel,
            "against": against,
            "of_tiles": of_tiles,
            "code": code(state),
        },
        suppress_callback_warning=True,  # nobody taps in a report
    ).encode()


def _choices(state: ExplorerState, config: QuantConfig) -> dict[str, str]:
    choices = {
        "Network": f"{name_of(state.network)} ×{scale_of(state.network)}",
        "Image": f"{file_name(state.image)}, {Region.parse(state.region).describe()}",
        "Method": state.method,
        "Bits": weights_and_activations(config.weight_bits, config.activation_bits),
        "Universal set": f"{state.words} words of {state.terms} terms, {state.selector}",
        "Layer": f"{state.layer}, channel {state.channel}",
        "Kept float": ", ".join(state.float_layers) or "none",
    }
    if not config.from_subset:
        del choices["Universal set"]
    return choices


def _data_url(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"
