"""Pictures, levels and the quantized network as files."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

import core
from explorer.choices.catalog import stem as stem_of
from explorer.choices.state import ExplorerState
from explorer.export.script import code
from explorer.jobs.token import Token
from explorer.pipeline import pictures, points
from explorer.pipeline.names import titles
from explorer.pipeline.pictures import Picture


def _network(state: ExplorerState, token: Token):
    config, kept = state.configs()(state.activation_bits), tuple(state.float_layers)
    own = tuple(state.calibration)
    return pictures.quantized(state.network, config, kept, pictures.Hand.of(state), own, token=token)


def checkpoint(state: ExplorerState, token: Token | None = None) -> bytes:
    """Write the quantized network at the sliders' bits, as `core.load_quantized` reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        core.save_quantized(_network(state, token), path)
        return path.read_bytes()


def levels(state: ExplorerState, token: Token | None = None) -> bytes:
    """Write the activation levels of every channel of the chosen layer as CSV."""
    layer = _network(state, token).get_submodule(state.layer)
    if not hasattr(layer, "activation_quantizer"):
        raise ValueError(f"{state.layer} is kept float and has no levels; choose another layer")
    quantizer, text = layer.activation_quantizer, io.StringIO()
    rows = csv.writer(text)
    unit = points.UNITS.get(type(quantizer), "activation")
    rows.writerow(["network", "layer", "channel", "index", f"level / {unit}"])
    for channel in range(state.param.channel.bounds[1] + 1):
        for index, level in enumerate(quantizer.levels(channel)):
            rows.writerow([stem_of(state.network), state.layer, channel, index, float(level)])
    return text.getvalue().encode()


def shown(
    state: ExplorerState, token: Token | None = None
) -> Iterator[tuple[str, pictures.PictureRequest, Picture]]:
    """Compute every picture of the tab Explore that can be made; yield its title, request and picture."""
    names = titles(state)
    for key, request in pictures.requests(state).items():
        if not isinstance(request, str):  # its place on the page says why there is none
            with contextlib.suppress(ValueError):
                yield names[key], request, pictures.picture(*request, token=token)


def png(picture: Picture) -> bytes:
    """Encode a picture as PNG."""
    data = io.BytesIO()
    Image.fromarray(picture.rgb).save(data, "PNG")
    return data.getvalue()


def archive(state: ExplorerState, token: Token | None = None) -> bytes:
    """Write the pictures as PNG and their scores as CSV into one ZIP."""
    data, text = io.BytesIO(), io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["picture", "psnr_y / dB", "ssim_y", "against"])
    with zipfile.ZipFile(data, "w") as files:
        for title, _, picture in shown(state, token):
            name = title.split(",")[0].lower().replace(" ", "_")
            files.writestr(f"{name}.png", png(picture))
            rows.writerow(
                [name, picture.psnr, picture.ssim, picture.against if picture.psnr is not None else ""]
            )
        files.writestr("scores.csv", text.getvalue())
        files.writestr("state.py", code(state))
    return data.getvalue()
