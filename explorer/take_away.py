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
from core.calibration import PATCH_SIZE, PATCHES
from core.methods import TRAINED
from explorer import pictures, pipeline
from explorer.jobs import Token
from explorer.pictures import Picture
from explorer.protocol import protocol
from explorer.state import NETWORKS, ExplorerState
from explorer.studies import TITLES, weights_and_activations
from explorer.views.distributions import DistributionsView
from explorer.views.points import PointsView
from explorer.views.style import decibel


def code(state: ExplorerState) -> str:
    """A script against `core` that makes the picture at the sliders' bits, and prints its scores."""
    scale = NETWORKS[state.network][1]
    lines = ["import core", ""]
    lines += _trained(state) if state.method in TRAINED else _calibrated(state)
    lines += ["", f"hr = core.demo_image({state.image!r})", f"lr = core.make_lr(hr, {scale})"]
    if state.region == "centre":
        side = pipeline.REGION
        lines += [
            f"height, width = (min({side}, n) for n in lr.shape[-2:])",
            "top, left = (lr.shape[-2] - height) // 2, (lr.shape[-1] - width) // 2",
            "lr = lr[..., top : top + height, left : left + width]",
            f"top, left, height, width = ({scale} * n for n in (top, left, height, width))",
            "hr = hr[..., top : top + height, left : left + width]",
        ]
    scores = (f"core.{score}_y(sr, hr, border={scale})" for score in ("psnr", "ssim"))
    lines += [
        "sr = core.super_resolve(quantized, lr)",
        f'print("PSNR {{:.2f}} dB, SSIM {{:.3f}}".format({", ".join(scores)}))',
    ]
    lines.append(f"core.save_quantized(quantized, {checkpoint_name(state)!r})")
    return "\n".join(lines) + "\n"


def _trained(state: ExplorerState) -> list[str]:
    config = state.configs()(state.activation_bits)
    weights = f"{config.method}-w{config.weight_bits}a{config.activation_bits}"
    name, scale = NETWORKS[state.network]
    return [f"quantized = core.create_model({name!r}, {scale}, {weights!r})  # trained quantized"]


def _calibrated(state: ExplorerState) -> list[str]:
    name, scale = NETWORKS[state.network]
    config = state.configs()(state.activation_bits)
    options = [repr(config.method), str(config.activation_bits), str(config.weight_bits)]
    if config.from_subset:
        options += [f"core.UniversalSet({config.universal_set.words}, {config.universal_set.terms})"]
        options += [repr(config.selector)]
    lines = [
        f"model = core.create_model({name!r}, {scale})",
        f"photographs = [core.make_lr(core.demo_image(name), {scale}) for name in core.demo_names()]",
        f"patches = core.calibration_patches(photographs, {PATCHES}, {PATCH_SIZE[scale]})",
        f"config = core.QuantConfig({', '.join(options)})",
    ]
    layers = ""
    if state.float_layers:
        layers = ", layers=quantize"
        lines += [
            f"kept_float = {state.float_layers!r}",
            "quantize = lambda name, module: model.quantized_scope(name, module) and name not in kept_float",
        ]
    if state.by_hand() and state.layer not in state.float_layers:
        rows = ":" if state.hand_layer else str(state.channel)
        width = 2**config.activation_bits - len(state.by_hand())
        lines += [
            f"calibration = core.calibrate(model, patches, config{layers})",
            f"seen = calibration.observers[{state.layer!r}]",
            "points = seen.points(config.activation_bits, config.selector).copy()  # (channels, points)",
            f"steps = {list(state.by_hand()) + width * [state.by_hand()[-1]]}  # by hand",
            f"points[{rows}] = [step * config.universal_set.step for step in steps]",
            f"calibration.observers[{state.layer!r}] = core.ChosenPoints(",
            "    points, config.universal_set, seen.post_relu, -3, config.block_side",
            ")",
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
    return (
        f"{state.network}_{state.method}_{weights_and_activations(state.weight_bits or bits, bits).lower()}"
    )


def _hand(state: ExplorerState) -> pictures.Hand | None:
    points = state.by_hand()
    return pictures.Hand(state.layer, None if state.hand_layer else state.channel, points) if points else None


def _network(state: ExplorerState, token: Token):
    config, kept = state.configs()(state.activation_bits), tuple(state.float_layers)
    return pictures.quantized(state.network, config, kept, _hand(state), token=token)


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
            rows.writerow([state.network, state.layer, channel, index, float(level)])
    return text.getvalue().encode()


def shown(state: ExplorerState, token: Token | None = None) -> dict[str, Picture]:
    """Every picture of the tab Explore that can be made, by its title."""
    where, kept = (state.network, state.image, state.region), tuple(state.float_layers)
    asked = {TITLES["hr"]: ("hr",), "Bicubic": ("bicubic",), TITLES["float"]: ("float",)}
    configs = state.configs()
    for bits in state.shown_bits():
        asked[weights_and_activations(state.weight_bits or bits, bits)] = (bits,)
    if (hand := _hand(state)) is not None:
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
    rows.writerow(["picture", "psnr_y / dB", "ssim_y"])
    with zipfile.ZipFile(data, "w") as files:
        for title, picture in shown(state, token).items():
            name = title.split(",")[0].lower().replace(" ", "_")
            files.writestr(f"{name}.png", png(picture))
            rows.writerow([name, picture.psnr, picture.ssim])
        files.writestr("scores.csv", text.getvalue())
        files.writestr("state.py", code(state))
    return data.getvalue()


TEMPLATE = """
{% block preamble %}<style>{{ style }}</style>{% endblock %}
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
        "Network": state.network,
        "Image": f"{state.image}, {state.region}",
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
    title = f"Quantization of {state.network}"
    above = f"<h1>{title}</h1><table>{cells}</table><p>{escape(protocol(state))}</p>"
    above += f'<h2>Images</h2><div class="grid">{images}</div><h2>Distributions and points</h2>'
    return file_html(
        [*distribution.figures, *points.figures],
        INLINE,
        title=title,
        template=TEMPLATE,
        template_variables={"style": STYLE, "above": above, "code": code(state)},
        suppress_callback_warning=True,  # nobody taps in a report
    ).encode()


def _figure(title: str, picture: Picture) -> str:
    score = "" if picture.psnr is None else f": {decibel(picture.psnr)}, SSIM {picture.ssim:.3f}"
    data = base64.b64encode(png(picture)).decode()
    return (
        f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(title)}{score}</figcaption></figure>"
    )
