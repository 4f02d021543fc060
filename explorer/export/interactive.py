"""One HTML file in which bits and methods can be changed without a server: points, staircase and picture."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator

import holoviews as hv
import numpy as np
from bokeh.embed import file_html
from bokeh.models import ColumnDataSource
from bokeh.resources import INLINE
from PIL import Image

from core import QuantConfig
from explorer.choices.catalog import name_of, scale_of
from explorer.choices.region import Region
from explorer.choices.sources import file_name
from explorer.choices.state import BITS, ExplorerState
from explorer.elements.points import histogram, levels, staircase
from explorer.elements.theme import bokeh_plot
from explorer.export.templates import TEMPLATES
from explorer.jobs.token import Token
from explorer.pipeline import pictures, points
from explorer.pipeline.names import TITLES, references
from explorer.pipeline.pictures import Picture, PictureRequest
from explorer.pipeline.protocol import protocol
from explorer.views.format import against, decibel

MAX_BYTES = 8_000_000
MAX_METHODS = 4  # each is quantized at every number of bits
MAX_SIDE = 288  # pixels of a picture: more would make the file too large
Frame = tuple[str, int]  # method and bits of the activations


def interactive(state: ExplorerState, token: Token | None = None) -> bytes:
    """Write the page of a layer's channel and the picture, for several methods at all bits.

    It needs no server and no other file. ValueError if it would have more than 8 MB.
    """
    token = token or Token()
    found, shown, problems = _computed(state, token)
    if not found:
        raise ValueError(next(iter(problems.values()), "There is nothing to show at any number of bits"))
    sliders = (state.method, state.activation_bits)
    figures, frames = _figures(found)
    for key in references(state.image, *TITLES):
        shown[key] = _shown(pictures.picture(*_request(state, key), token=token))
    data = {"first": _key(sliders if sliders in found else next(iter(found)))}
    data |= {"figures": frames, "pictures": shown, "problems": problems}
    page = file_html(
        figures,
        title=f"Quantization of {name_of(state.network)}",
        template=TEMPLATES.get_template("interactive.html.jinja"),
        template_variables={
            "bokeh": "\n".join(INLINE.clone(components=["bokeh"]).js_raw),
            "network": f"{name_of(state.network)} ×{scale_of(state.network)}",
            "where": f"{state.layer}, channel {state.channel}; {file_name(state.image)}, "
            f"{Region.parse(state.region).describe()}",
            "methods": list(dict.fromkeys(method for (method, _), _ in _frames(state))),
            "bits": BITS,
            "side": MAX_SIDE,
            "references": {key: TITLES[key] for key in references(state.image, *TITLES)},
            "protocol": protocol(state),
            # "<" would end the script that holds it.
            "frames": json.dumps(data).replace("<", "\\u003c"),
        },
        suppress_callback_warning=True,
    ).encode()
    if len(page) > MAX_BYTES:
        raise ValueError(
            f"The page would have {len(page) / 1e6:.0f} MB, and 8 MB are the limit; choose fewer methods"
        )
    return page


def _computed(
    state: ExplorerState, token: Token
) -> tuple[dict[Frame, points.Points], dict[str, dict], dict[str, str]]:
    """Return the points and the picture of every frame, and why others have none."""
    found, shown, problems = {}, {}, {}
    where = (state.network, state.layer, state.channel)
    for frame, config in _frames(state):
        token.check()
        try:
            made = points.points(*where, config, (), False, False, tuple(state.calibration), token=token)
            shown[_key(frame)] = _shown(pictures.picture(*_request(state, config), token=token))
            found[frame] = made
        except ValueError as error:  # such as a training that is not bundled at these bits
            problems[_key(frame)] = str(error)
    return found, shown, problems


def _frames(state: ExplorerState) -> Iterator[tuple[Frame, QuantConfig]]:
    """Yield every method and number of bits that is shown, with its configuration if there is one."""
    methods = list(dict.fromkeys([state.method, *state.methods]))[:MAX_METHODS]
    for method in methods:
        config = state.configs(method)
        for bits in BITS:
            try:
                yield (method, bits), config(bits)
            except ValueError:
                continue  # the universal set is too small


def _key(frame: Frame) -> str:
    return f"{frame[0]} {frame[1]}"


def _request(state: ExplorerState, what: str | QuantConfig) -> PictureRequest:
    kept = () if isinstance(what, str) else tuple(state.float_layers)
    own = () if isinstance(what, str) else tuple(state.calibration)
    return PictureRequest(state.network, state.image, state.region, what, kept, None, own)


def _shown(picture: Picture) -> dict[str, str]:
    """Return a picture's middle as the address of an image, and its scores in words."""
    height, width = picture.rgb.shape[:2]
    top, left = (max(0, (size - MAX_SIDE) // 2) for size in (height, width))
    data = io.BytesIO()
    middle = picture.rgb[top : top + MAX_SIDE, left : left + MAX_SIDE]
    Image.fromarray(middle).save(data, "WEBP", lossless=True, method=4)
    text = picture.against
    if picture.psnr is not None:
        text = f"{decibel(picture.psnr)}, SSIM {picture.ssim:.3f}{against(picture.against)}"
    if picture.effective is not None:
        text += "; effective bits W{:.2f} A{:.2f}".format(*picture.effective)
    return {"src": f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}", "text": text}


def _figures(found: dict[Frame, points.Points]) -> tuple[list, dict]:
    """Draw both figures as maps over all frames; return them, and what each frame changes in them."""
    maps = {
        "histogram": hv.HoloMap({f: histogram(p) * levels(p) for f, p in found.items()}, ["method", "bits"]),
        "staircase": hv.HoloMap({f: staircase(p) for f, p in found.items()}, ["method", "bits"]),
    }
    figures, frames = [], {_key(frame): {} for frame in found}
    for name, drawn in maps.items():
        plot = bokeh_plot(drawn)
        for frame in found:
            plot.update(frame)
            frames[_key(frame)][name] = _state_of(plot.state)
        figures.append(plot.state)
    return figures, frames


def _state_of(figure) -> dict:
    """Return what a figure shows, in plain values: title, ranges, and the data of each renderer."""
    sources = [renderer.data_source for renderer in figure.renderers]
    return {
        "title": figure.title.text,
        "x": [figure.x_range.start, figure.x_range.end],
        "y": [figure.y_range.start, figure.y_range.end],
        "data": [_plain(source) for source in sources],
        "colors": [_colors(renderer.glyph) for renderer in figure.renderers],
    }


def _plain(source: ColumnDataSource) -> dict[str, list]:
    return {name: np.asarray(column).round(6).tolist() for name, column in source.data.items()}


def _colors(glyph) -> dict[str, str]:
    """Return the colours that all of a renderer's marks have."""
    found = {name: getattr(glyph, name, None) for name in ("line_color", "fill_color")}
    return {name: color for name, color in found.items() if isinstance(color, str)}
