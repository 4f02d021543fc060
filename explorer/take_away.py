"""What a person takes along: the choices as Python, pictures, levels, the quantized network, a report."""

from __future__ import annotations

import base64
import csv
import io
import tempfile
import zipfile
from html import escape
from pathlib import Path

from bokeh.embed import file_html
from bokeh.resources import INLINE
from PIL import Image

import core
from core.calibration import PATCHES, patch_size
from core.methods import TRAINED
from explorer import pictures, pipeline, regions
from explorer.jobs import Token
from explorer.own import file_name, is_own
from explorer.pictures import FLOAT_SR, Picture
from explorer.protocol import protocol
from explorer.sources import NETWORKS, layer_channels, lr_size, name_of, network_code, scale_of, without_truth
from explorer.sources import stem as stem_of
from explorer.state import WHOLE, ExplorerState
from explorer.studies import TITLES, references, weights_and_activations
from explorer.views.distributions import DistributionsView
from explorer.views.points import PointsView
from explorer.views.style import against, decibel


def code(state: ExplorerState) -> str:
    """A script against `core` that makes the picture at the sliders' bits, and prints its scores.

    A file of the visitor's own is read from beside it.
    """
    scale, lr_only = scale_of(state.network), without_truth(state.image)
    lines = ["import core", ""]
    if state.method not in TRAINED or lr_only:
        lines.append(f"model = {network_code(state.network)}")
    lines += _trained(state) if state.method in TRAINED else _calibrated(state)
    lines += ["", *_image(state.image, scale), *_region(state, scale)]
    tile = f", tile={regions.TILE}" if regions.by_tiles(state.image, scale, state.region) else ""
    lines.append(f"sr = core.super_resolve(quantized, lr{tile})")
    if lr_only:
        lines.append(f"float_sr = core.super_resolve(model, lr{tile})  # there is no ground truth")
    truth = "float_sr" if lr_only else "hr"
    scores = (f"core.{score}_y(sr, {truth}, border={scale})" for score in ("psnr", "ssim"))
    what = against(FLOAT_SR) if lr_only else ""
    lines += [
        f'print("PSNR {{:.2f}} dB, SSIM {{:.3f}}{what}".format({", ".join(scores)}))',
        f"core.save_quantized(quantized, {checkpoint_name(state)!r})",
    ]
    return "\n".join(lines) + "\n"


def _image(image: str, scale: int) -> list[str]:
    file = f"core.load_image({file_name(image)!r})"
    if without_truth(image):
        return [f"lr = {file}"]
    hr = f"core.modcrop({file}, {scale})" if is_own(image) else f"core.demo_image({image!r})"
    return [f"hr = {hr}", f"lr = core.make_lr(hr, {scale})"]


def _region(state: ExplorerState, scale: int) -> list[str]:
    if state.region == WHOLE:
        return []
    top, left, height, width = regions.window(state.region, *lr_size(state.image, scale))
    lines = [f"lr = lr[..., {top} : {top + height}, {left} : {left + width}]"]
    if not without_truth(state.image):
        top, left, height, width = (scale * n for n in (top, left, height, width))
        lines.append(f"hr = hr[..., {top} : {top + height}, {left} : {left + width}]")
    return lines


def _trained(state: ExplorerState) -> list[str]:
    config = state.configs()(state.activation_bits)
    weights = f"{config.method}-w{config.weight_bits}a{config.activation_bits}"
    name, scale = NETWORKS[state.network]
    return [f"quantized = core.create_model({name!r}, {scale}, {weights!r})  # trained quantized"]


def _calibrated(state: ExplorerState) -> list[str]:
    scale = scale_of(state.network)
    config = state.configs()(state.activation_bits)
    options = [repr(config.method), str(config.activation_bits), str(config.weight_bits)]
    if config.from_subset:
        options += [f"core.UniversalSet({config.universal_set.words}, {config.universal_set.terms})"]
        options += [repr(config.selector)] if config.selector else []
    lines = [
        f"photographs = [core.make_lr(core.demo_image(name), {scale}) for name in core.demo_names()]",
        f"patches = core.calibration_patches(photographs, {PATCHES}, {patch_size(scale)})",
        f"config = core.QuantConfig({', '.join(options)})",
    ]
    layers = ""
    if state.float_layers:
        layers = ", layers=quantize"
        kept = [layer for layer in layer_channels(state.network) if layer not in state.float_layers]
        lines.append(f"quantize = {kept!r}")
    if state.by_hand() and state.layer not in state.float_layers:
        rows = ":" if state.hand_layer else str(state.channel)
        width = 2**config.activation_bits - len(state.by_hand())
        lines += [
            f"calibration = core.calibrate(model, patches, config{layers})",
            f"seen = calibration.observers[{state.layer!r}]",
            "points = seen.points(config).copy()  # (channels, points)",
            f"steps = {list(state.by_hand()) + width * [state.by_hand()[-1]]}  # by hand",
            f"points[{rows}] = [step * config.universal_set.step for step in steps]",
            f"calibration.observers[{state.layer!r}] = core.ChosenPoints(points, seen.post_relu, -3)",
            f"quantized = core.quantize_model(model, calibration, config{layers})",
        ]
    else:
        lines.append(f"quantized = core.quantize_model(model, patches, config{layers})")
    return lines


def checkpoint_name(state: ExplorerState) -> str:
    return f"{stem(state)}.safetensors"


def stem(state: ExplorerState) -> str:
    """edsr_x2_dfsq_w4a4: of the files' names."""
    bits = state.activation_bits
    size = weights_and_activations(state.weight_bits or bits, bits).lower()
    return f"{stem_of(state.network)}_{state.method}_{size}"


def _network(state: ExplorerState, token: Token):
    config, kept = state.configs()(state.activation_bits), tuple(state.float_layers)
    return pictures.quantized(state.network, config, kept, pictures.Hand.of(state), token=token)


def checkpoint(state: ExplorerState, token: Token | None = None) -> bytes:
    """The quantized network at the sliders' bits, as `core.load_quantized` reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        core.save_quantized(_network(state, token), path)
        return path.read_bytes()


def levels(state: ExplorerState, token: Token | None = None) -> bytes:
    """The activation levels of every channel of the chosen layer, as CSV."""
    layer = _network(state, token).get_submodule(state.layer)
    if not hasattr(layer, "activation_quantizer"):
        raise ValueError(f"{state.layer} is kept float and has no levels; choose another layer")
    quantizer, text = layer.activation_quantizer, io.StringIO()
    rows = csv.writer(text)
    unit = pipeline.UNITS.get(type(quantizer), "activation")
    rows.writerow(["network", "layer", "channel", "index", f"level / {unit}"])
    for channel in range(state.param.channel.bounds[1] + 1):
        for index, level in enumerate(quantizer.levels(channel)):
            rows.writerow([stem_of(state.network), state.layer, channel, index, float(level)])
    return text.getvalue().encode()


def shown(state: ExplorerState, token: Token | None = None) -> dict[str, Picture]:
    """Every picture of the tab Explore that can be made, by its title."""
    where, kept = (state.network, state.image, state.region), tuple(state.float_layers)
    asked = {TITLES[key]: (key,) for key in references(state.image, *TITLES)}
    configs = state.configs()
    for bits in state.shown_bits():
        asked[weights_and_activations(state.weight_bits or bits, bits)] = (bits,)
    if (hand := pictures.Hand.of(state)) is not None:
        asked["By hand"] = (state.activation_bits, hand)
    found = {}
    for title, (what, *rest) in asked.items():
        try:
            arguments = (what,) if isinstance(what, str) else (configs(what), kept, *rest)
            found[title] = pictures.picture(*where, *arguments, token=token)
        except ValueError:
            continue  # its place on the page says why there is none
    return found


def png(picture: Picture) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture.rgb).save(data, "PNG")
    return data.getvalue()


def archive(state: ExplorerState, token: Token | None = None) -> bytes:
    """The pictures as PNG and their scores as CSV, in one ZIP."""
    data, text = io.BytesIO(), io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["picture", "psnr_y / dB", "ssim_y", "against"])
    with zipfile.ZipFile(data, "w") as files:
        for title, picture in shown(state, token).items():
            name = title.split(",")[0].lower().replace(" ", "_")
            files.writestr(f"{name}.png", png(picture))
            rows.writerow(
                [name, picture.psnr, picture.ssim, picture.against if picture.psnr is not None else ""]
            )
        files.writestr("scores.csv", text.getvalue())
        files.writestr("state.py", code(state))
    return data.getvalue()


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
    distribution, points = DistributionsView(lambda channel: None), PointsView()
    distribution.show(pipeline.distribution(state.network, state.layer, token=token), state.channel)
    where = (state.network, state.layer, state.channel, config, state.by_hand(), state.hand_layer)
    points.show(pipeline.points(*where, token=token))
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
        [*distribution.figures, *points.figures],
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
