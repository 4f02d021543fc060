"""Keys -> networks and photographs: bundled ones, and a visitor's own. All that look them up ask here."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np
from torch import nn

import core
from core import zoo
from core.images import to_uint8
from core.ptq.scope import choose_layers, input_channels
from explorer.choices.visitor_files import file_name, is_uploaded, uploaded

NETWORKS = {f"{name}_x{scale}": (name, scale) for name, scale in zoo.bundled()}


def spelled(name: str) -> str:
    """A bundled network's name as its authors write it."""
    return {"srresnet": "SRResNet"}.get(name, name.upper())


NETWORK_NAMES = {f"{spelled(name)} ×{scale}": key for key, (name, scale) in NETWORKS.items()}
IMAGE_NAMES = {name: name for name in core.demo_names()}


def make_network(key: str) -> nn.Module:
    """The float network, in eval mode."""
    return uploaded(key).model if is_uploaded(key) else core.create_model(*NETWORKS[key])


def scale_of(key: str) -> int:
    return uploaded(key).scale if is_uploaded(key) else NETWORKS[key][1]


def trained(key: str) -> list[str]:
    """What the network was trained to be besides float, as `weights` of `core.create_model`."""
    return [] if is_uploaded(key) else zoo.trained(*NETWORKS[key])


def layer_channels(key: str) -> dict[str, int]:
    """The layers that are quantized, in the order of the network, and their input channels."""
    return uploaded(key).layers if is_uploaded(key) else _bundled_layers(key)


@functools.cache
def _bundled_layers(key: str) -> dict[str, int]:
    model = make_network(key)
    names, _ = choose_layers(model, None, None)
    return {name: input_channels(model.get_submodule(name)) for name in names}


def name_of(key: str) -> str:
    """edsr, or the name of the file."""
    return file_name(key) if is_uploaded(key) else NETWORKS[key][0]


def about(key: str) -> str:
    """What is known of a network, in two sentences."""
    if is_uploaded(key):
        found = uploaded(key)
        kind = type(found.model)
        facts = f"{kind.__name__} ×{found.scale}, {found.parameters / 1e3:,.0f} k parameters, your file."
        return " ".join(filter(None, (facts, getattr(kind, "about", ""), found.note)))
    try:
        card = zoo.model_card(*NETWORKS[key])
    except ValueError as error:  # the network itself is as good as ever
        return str(error)
    facts = f"{card['parameters'] / 1e3:.0f} k parameters, Set5 {card['scores']['Set5']['psnr_y']:.2f} dB."
    return f"{facts} {card['about']}"


def pixels(image: str) -> np.ndarray:
    """The photograph, (H, W, 3) uint8: the HR, or the LR itself if `without_truth`."""
    return uploaded(image).pixels if is_uploaded(image) else _packaged(image)


@functools.cache
def _packaged(name: str) -> np.ndarray:
    found = to_uint8(core.demo_image(name))[0]
    found.setflags(write=False)
    return found


def without_truth(image: str) -> bool:
    """Whether the image is an LR that no HR is known of."""
    return is_uploaded(image) and uploaded(image).is_lr


def lr_size(image: str, scale: int) -> tuple[int, int]:
    """Height and width of the whole LR."""
    height, width = pixels(image).shape[:2]
    return (height, width) if without_truth(image) else (height // scale, width // scale)


def stem(key: str) -> str:
    """Of the names of files that are made with the network."""
    return re.sub(r"\W+", "_", Path(file_name(key)).stem) if is_uploaded(key) else key


def network_code(key: str) -> str:
    """What makes the float network in Python."""
    if is_uploaded(key):
        res_scale = uploaded(key).res_scale
        more = "" if res_scale is None else f", res_scale={res_scale:g}"
        return f"core.load_checkpoint({file_name(key)!r}{more})"
    return "core.create_model({!r}, {})".format(*NETWORKS[key])
