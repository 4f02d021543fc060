"""A report: what the page shows, as one HTML file."""

from __future__ import annotations

import base64
import datetime
import io

import numpy as np
from bokeh.embed import file_html
from bokeh.resources import INLINE
from PIL import Image, ImageColor

from core import QuantConfig
from explorer.choices.catalog import name_of, scale_of
from explorer.choices.region import Region
from explorer.choices.state import ExplorerState
from explorer.choices.visitor_files import file_name
from explorer.elements.colors import DIFFERENCE_PALETTE, DIFFERENCE_TOP
from explorer.elements.distributions import by_image, heat_map, spread
from explorer.elements.theme import bokeh_plot
from explorer.export.files import shown
from explorer.export.script import code, versions
from explorer.export.templates import TEMPLATES
from explorer.jobs.token import Token
from explorer.pipeline import activations, pictures, points, tuning
from explorer.pipeline.method_comparison import error_map
from explorer.pipeline.names import weights_and_activations
from explorer.pipeline.pictures import Picture, PictureRequest
from explorer.pipeline.protocol import protocol
from explorer.views.format import against, decibel, of_tiles
from explorer.views.points import PointsView


def report(state: ExplorerState, token: Token | None = None) -> bytes:
    """Write choices, pictures, methods, layers, distributions, points and the code as one HTML file.

    It needs no other file. Methods and layers that the page has not shown yet are computed, which takes a
    while: `token` hears of it.
    """
    token, config = token or Token(), state.configs()(state.activation_bits)
    own = tuple(state.calibration)
    seen = activations.distribution(state.network, state.layer, own, token=token)
    drawn = [draw(seen, state.channel) for draw in (heat_map, spread, by_image)]
    levels = PointsView()
    shown_config = config.for_layer(state.layer)
    where = (state.network, state.layer, state.channel, shown_config, state.by_hand(), state.hand_layer)
    levels.show(points.points(*where, True, own, token=token))
    truth = pictures.reference(state.image)
    return file_html(
        [*(bokeh_plot(element).state for element in drawn), *levels.figures],
        title=f"Quantization of {name_of(state.network)}",
        template=TEMPLATES.get_template("report.html.jinja"),
        # Bokeh itself, not what Panel's models ask for besides: of these none is here, and they are files.
        template_variables={
            "bokeh": "\n".join(INLINE.clone(components=["bokeh"]).js_raw),
            "choices": _choices(state, config),
            "protocol": protocol(state),
            "pictures": _with_errors(state, token),
            "reference": "the ground truth" if truth == "hr" else "the float network's picture",
            "top": DIFFERENCE_TOP,
            "methods": _methods(state, token),
            "layers": _layers(state, config, token),
            "data_url": _data_url,
            "decibel": decibel,
            "against": against,
            "of_tiles": of_tiles,
            "code": code(state),
            "made": f"Made on {datetime.date.today()} with {versions()}.",
        },
        suppress_callback_warning=True,  # nobody taps in a report
    ).encode()


def _choices(state: ExplorerState, config: QuantConfig) -> dict[str, str]:
    choices = {
        "Network": f"{name_of(state.network)} ×{scale_of(state.network)}",
        "Image": f"{file_name(state.image)}, {Region.parse(state.region).describe()}",
        "Method": state.method,
        "Bits": weights_and_activations(config.weight_bits, config.activation_bits),
        "Bits by layer": ", ".join(
            f"{layer} {weights_and_activations(*bits)}" for layer, bits in state.bits_by_layer().items()
        ),
        "Universal set": f"{state.words} words of {state.terms} terms, {state.selector}",
        "Layer": f"{state.layer}, channel {state.channel}",
        "Kept float": ", ".join(state.float_layers) or "none",
        "Seed": f"{config.seed} of the clusters, 0 of the calibration patches",
    }
    if not config.from_subset:
        del choices["Universal set"]
    if not choices["Bits by layer"]:
        del choices["Bits by layer"]
    return choices


def _with_errors(state: ExplorerState, token: Token) -> dict[str, tuple[Picture, np.ndarray | None]]:
    """Return every picture of the tab Explore with its error map as colours; None for the reference."""
    found = {}
    for title, request, picture in shown(state, token):
        error = None if request == request.reference else _colours(error_map(request, token=token))
        found[title] = picture, error
    return found


def _methods(state: ExplorerState, token: Token) -> list[dict[str, str]]:
    """Score the methods that are compared, at the sliders' bits, and their tunings that are there."""
    rows, own = [], tuple(state.calibration)
    asked = [(method, method, True) for method in dict.fromkeys([state.method, *state.methods])]
    asked += [(f"{state.method}, bits by layer", None, False)] if state.bits_by_layer() else []
    for name, method, uniform in asked:
        row = {"method": name}
        try:
            config = state.configs(method, uniform)(state.activation_bits)
            where = (state.network, state.image, state.region, config)
            picture = pictures.picture(*PictureRequest(*where, (), None, own), token=token)
            rows.append(row | _scored(picture, config))
        except ValueError as error:
            rows.append(row | {"PSNR": str(error), "SSIM": "–", "effective bits": "–"})
            continue
        for request in tuning.done(state.network, config, own):
            picture = tuning.tuned_picture(state.image, state.region, *request, token=token)
            title = f"{name}, ranges tuned in {request.steps} steps"
            rows.append({"method": title} | _scored(picture, config))
    return rows


def _scored(picture: Picture, config: QuantConfig) -> dict[str, str]:
    weights, activated = picture.effective or (config.weight_bits, config.activation_bits)
    return {
        "PSNR": decibel(picture.psnr),
        "SSIM": f"{picture.ssim:.3f}",
        "effective bits": f"W{weights:g} A{activated:g}",
    }


def _layers(state: ExplorerState, config: QuantConfig, token: Token) -> list[dict[str, str]] | str:
    """Tabulate how sensitive the layers are; a sentence where they were trained together."""
    where = (state.network, state.image, state.region, config, tuple(state.calibration))
    try:
        total, found = pictures.sensitivity(*where, token=token)
    except ValueError as error:
        return f"{error}."
    rows = [
        {"layer": name, "alone": f"{one.only:.3f}", "all but this one": f"{one.all_but:.3f}"}
        for name, one in found.items()
    ]
    return [*rows, {"layer": "all", "alone": f"{total:.3f}", "all but this one": ""}]


def _colours(error: np.ndarray) -> np.ndarray:
    """Draw an error map (H, W) in 8-bit levels as on the page, (H, W, 3) uint8."""
    palette = np.array([ImageColor.getrgb(colour) for colour in DIFFERENCE_PALETTE], np.uint8)
    return palette[(error * ((len(palette) - 1) / DIFFERENCE_TOP)).clip(0, len(palette) - 1).astype(int)]


def _data_url(rgb: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
