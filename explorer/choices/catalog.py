"""The networks and photographs by their keys: bundled ones, and those of a visitor's files."""

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
from explorer.choices import server_networks
from explorer.choices.visitor_files import file_name, is_uploaded, uploaded

NETWORKS = {f"{name}_x{scale}": (name, scale) for name, scale in zoo.bundled()}


def spelled(name: str) -> str:
    """Spell a bundled network's name as its authors do."""
    return {"srresnet": "SRResNet"}.get(name, name.upper())


NETWORK_NAMES = {f"{spelled(name)} ×{scale}": key for key, (name, scale) in NETWORKS.items()}
NETWORK_NAMES |= server_networks.added()
IMAGE_NAMES = {name: name for name in core.demo_names()}


def make_network(key: str) -> nn.Module:
    """Make the float network, in eval mode."""
    return uploaded(key).model if is_uploaded(key) else core.create_model(*NETWORKS[key])


def scale_of(key: str) -> int:
    """Return the factor by which the network enlarges."""
    return uploaded(key).scale if is_uploaded(key) else NETWORKS[key][1]


def trained(key: str) -> list[str]:
    """List the network's bundled trainings, besides float, as `weights` of `core.create_model`."""
    return [] if is_uploaded(key) else zoo.trained(*NETWORKS[key])


def layer_channels(key: str) -> dict[str, int]:
    """Return the layers that are quantized, in the order of the network, with their input channels."""
    return uploaded(key).layers if is_uploaded(key) else _bundled_layers(key)


@functools.cache
def _bundled_layers(key: str) -> dict[str, int]:
    model = make_network(key)
    names, _ = choose_layers(model, None, None)
    return {name: input_channels(model.get_submodule(name)) for name in names}


def name_of(key: str) -> str:
    """Return the network's name: edsr, or the name of the file."""
    return file_name(key) if is_uploaded(key) else NETWORKS[key][0]


def about(key: str) -> str:
    """Describe a network in two sentences."""
    if is_uploaded(key):
        found = uploaded(key)
        kind = type(found.model)
        whose = "" if server_networks.is_added(key) else ", your file"
        facts = f"{kind.__name__} ×{found.scale}, {found.parameters / 1e3:,.0f} k parameters{whose}."
        return " ".join(filter(None, (facts, getattr(kind, "about", ""), found.note)))
    try:
        card = zoo.model_card(*NETWORKS[key])
    except ValueError as error:  # the network itself is as good as ever
        return str(error)
    facts = f"{card['parameters'] / 1e3:.0f} k parameters, Set5 {card['scores']['Set5']['psnr_y']:.2f} dB."
    return f"{facts} {card['about']}"


def pixels(image: str) -> np.ndarray:
    """Return the photograph, (H, W, 3) uint8: the HR, or the LR itself if `without_truth`."""
    return uploaded(image).pixels if is_uploaded(image) else _packaged(image)


@functools.cache
def _packaged(name: str) -> np.ndarray:
    found = to_uint8(core.demo_image(name))[0]
    found.setflags(write=False)
    return found


def without_truth(image: str) -> bool:
    """Tell whether the image is an LR without a known HR."""
    return is_uploaded(image) and uploaded(image).is_lr


def lr_size(image: str, scale: int) -> tuple[int, int]:
    """Return height and width of the whole LR."""
    height, width = pixels(image).shape[:2]
    return (height, width) if without_truth(image) else (height // scale, width // scale)


def stem(key: str) -> str:
    """Return how the names of files made with the network begin."""
    return re.sub(r"\W+", "_", Path(file_name(key)).stem) if is_uploaded(key) else key


def network_code(key: str) -> str:
    """Write the Python expression that makes the float network."""
    if server_networks.is_added(key):
        return server_networks.code(key)
    if is_uploaded(key):
        res_scale = uploaded(key).res_scale
        more = "" if res_scale is None else f", res_scale={res_scale:g}"
        return f"core.load_checkpoint({file_name(key)!r}{more})"
    return "core.create_model({!r}, {})".format(*NETWORKS[key])
