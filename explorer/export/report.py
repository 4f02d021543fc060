"""What the page shows as one HTML file."""

from __future__ import annotations

import base64
from html import escape

from bokeh.embed import file_html
from bokeh.resources import INLINE

from explorer.choices.catalog import (
    name_of,
    scale_of,
)
from explorer.choices.state import ExplorerState
from explorer.choices.visitor_files import file_name
from explorer.export.files import png, shown
from explorer.export.script import code
from explorer.jobs.token import Token
from explorer.pipeline import activations, points, regions
from explorer.pipeline.names import weights_and_activations
from explorer.pipeline.pictures import Picture
from explorer.pipeline.protocol import protocol
from explorer.views.distributions import DistributionsView
from explorer.views.format import against, decibel
from explorer.views.points import PointsView

TEMPLATE = """
{% block preamble %}<style>{{ style }}</style>{% endblock %}
{% block css_resources %}{% endblock %}
{% block js_resources %}<script>{{ bokeh }}</script>{% endblock %}
{% block contents %}{{ above }}
{% for doc in docs %}{% for root in doc.roots %}{{ embed(root) }}{% endfor %}{% endfor %}
<h2>The same in Python</h2><pre>{{ code | e }}</pre>{% endblock %}"""
STYLE = """
body { font: 15px/1.45 Helvetica, Arial, sans-serif; max-width: 1100px; margin: 24px auto; padding: 0 16px; }
.grid { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); }
figure { margin: 0 } img { width: 100%; image-rendering: pixelated } figcaption { font-size: 13px }
table { border-collapse: collapse } td { padding: 2px 18px 2px 0 } pre { background: #f2f2f2; padding: 12px;
overflow-x: auto }
"""


def report(state: ExplorerState, token: Token | None = None) -> bytes:
    """One HTML file that needs nothing else: choices, pictures, distributions, points, and the code."""
    config = state.configs()(state.activation_bits)
    distribution, levels = DistributionsView(lambda channel: None), PointsView()
    distribution.show(activations.distribution(state.network, state.layer, token=token), state.channel)
    where = (state.network, state.layer, state.channel, config, state.by_hand(), state.hand_layer)
    levels.show(points.points(*where, token=token))
    choices = {
        "Network": name_of(state.network) + f" ×{scale_of(state.network)}",
        "Image": f"{file_name(state.image)}, {regions.in_words(state.region)}",
        "Method": state.method,
        "Bits": weights_and_activations(config.weight_bits, config.activation_bits),
        "Universal set": f"{state.words} words of {state.terms} terms, {state.selector}",
        "Layer": f"{state.layer}, channel {state.channel}",
        "Kept float": ", ".join(state.float_layers) or "none",
    }
    if not config.from_subset:
        del choices["Universal set"]
    cells = "".join(f"<tr><td>{name}</td><td>{escape(value)}</td></tr>" for name, value in choices.items())
    images = "".join(_figure(title, picture) for title, picture in shown(state, token).items())
    title = f"Quantization of {name_of(state.network)}"
    above = f"<h1>{escape(title)}</h1><table>{cells}</table><p>{escape(protocol(state))}</p>"
    above += f'<h2>Images</h2><div class="grid">{images}</div><h2>Distributions and points</h2>'
    return file_html(
        [*distribution.figures, *levels.figures],
        title=title,
        template=TEMPLATE,
        # Bokeh itself, not what Panel's models ask for besides: of these none is here, and they are files.
        template_variables={
            "bokeh": "\n".join(INLINE.clone(components=["bokeh"]).js_raw),
            "style": STYLE,
            "above": above,
            "code": code(state),
        },
        suppress_callback_warning=True,  # nobody taps in a report
    ).encode()


def _figure(title: str, picture: Picture) -> str:
    score = ""
    if picture.psnr is not None:
        score = f": {decibel(picture.psnr)}, SSIM {picture.ssim:.3f}{against(picture.against)}"
    data = base64.b64encode(png(picture)).decode()
    return (
        f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(title)}{score}</figcaption></figure>"
    )
