"""What can be chosen: bundled networks and photographs, and those that a program or its owner brings."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

import core
from core import zoo
from core.images import to_uint8
from core.ptq.scope import choose_layers, input_channels
from explorer.choices.sources import ImageSource, NetworkSource, hold, release, source


def spelled(name: str) -> str:
    """Spell a bundled network's name as its authors do."""
    return {"srresnet": "SRResNet"}.get(name, name.upper())


@dataclasses.dataclass(frozen=True)
class BundledNetwork(NetworkSource):
    """A network of `core.create_model`."""

    name: str
    scale: int

    def make(self) -> nn.Module:
        """Load the network."""
        return core.create_model(self.name, self.scale)

    @functools.cached_property
    def layers(self) -> dict[str, int]:
        """The layers that are quantized, with their input channels."""
        model = self.make()
        names, _ = choose_layers(model, None, None)
        return {name: input_channels(model.get_submodule(name)) for name in names}

    @property
    def trained(self) -> list[str]:
        """The bundled trainings, as `weights` of `core.create_model`."""
        return zoo.trained(self.name, self.scale)

    @property
    def about(self) -> str:
        """What its model card says."""
        try:
            card = zoo.model_card(self.name, self.scale)
        except ValueError as error:  # the network itself is as good as ever
            return str(error)
        scores = f"Set5 {card['scores']['Set5']['psnr_y']:.2f} dB."
        return f"{card['parameters'] / 1e3:.0f} k parameters, {scores} {card['about']}"

    @property
    def stem(self) -> str:
        """Its key."""
        return f"{self.name}_x{self.scale}"

    @property
    def code(self) -> str:
        """The call that loads it."""
        return f"core.create_model({self.name!r}, {self.scale})"


class Photograph:
    """A packaged photograph, read when it is first asked for; the attributes of an `ImageSource`."""

    is_lr = False

    def __init__(self, name: str):
        self.name, self.code = name, f"core.demo_image({name!r})"

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """The photograph, (H, W, 3) uint8."""
        found = to_uint8(core.demo_image(self.name))[0]
        found.setflags(write=False)
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Catalog:
    """What a session can choose from, besides its visitor's files: key -> network, key -> image."""

    networks: Mapping[str, NetworkSource]
    images: Mapping[str, ImageSource | Photograph]

    @property
    def network_names(self) -> dict[str, str]:
        """What the networks are called -> their keys."""
        return {_label(network): key for key, network in self.networks.items()}

    @property
    def image_names(self) -> dict[str, str]:
        """What the images are called -> their keys."""
        return {
            f"{image.name}, as LR" if image.is_lr else image.name: key for key, image in self.images.items()
        }

    @property
    def keys(self) -> set[str]:
        """The keys of all networks and images."""
        return {*self.networks, *self.images}

    def before(self, other: Catalog) -> Catalog:
        """Return a catalogue that offers this one's things first, then another's of other names."""
        networks, images = self.network_names, self.image_names
        return Catalog(
            self.networks | {k: n for k, n in other.networks.items() if _label(n) not in networks},
            self.images | {k: i for k, i in other.images.items() if i.name not in images},
        )

    def hold(self) -> None:
        """Make the keys known, until `release` was called as often."""
        hold({**self.networks, **self.images})

    def release(self) -> None:
        """Drop what nobody else holds, and all that was computed from it."""
        release(self.keys)


def _label(network: NetworkSource) -> str:
    name = spelled(network.name) if isinstance(network, BundledNetwork) else network.name
    return f"{name} ×{network.scale}"


NETWORKS = {f"{name}_x{scale}": (name, scale) for name, scale in zoo.bundled()}
BUNDLED = Catalog(
    {key: BundledNetwork(*network) for key, network in NETWORKS.items()},
    {name: Photograph(name) for name in core.demo_names()},
)
BUNDLED.hold()
NETWORK_NAMES = BUNDLED.network_names
IMAGE_NAMES = BUNDLED.image_names


def make_network(key: str) -> nn.Module:
    """Make the float network, in eval mode."""
    return source(key).make()


def scale_of(key: str) -> int:
    """Return the factor by which the network enlarges."""
    return source(key).scale


def trained(key: str) -> list[str]:
    """List the network's bundled trainings, besides float, as `weights` of `core.create_model`."""
    return list(source(key).trained)


def layer_channels(key: str) -> Mapping[str, int]:
    """Return the layers that are quantized, in the order of the network, with their input channels."""
    return source(key).layers


def calibration_patches(key: str) -> torch.Tensor | None:
    """Return the LR images that the network brings to calibrate on; None for the packaged ones."""
    return source(key).patches


def name_of(key: str) -> str:
    """Return the network's name: edsr, or the name of the file."""
    return source(key).name


def about(key: str) -> str:
    """Describe a network in two sentences."""
    return source(key).about


def pixels(image: str) -> np.ndarray:
    """Return the photograph, (H, W, 3) uint8: the HR, or the LR itself if `without_truth`."""
    return source(image).pixels


def without_truth(image: str) -> bool:
    """Tell whether the image is an LR without a known HR."""
    return source(image).is_lr


def lr_size(image: str, scale: int) -> tuple[int, int]:
    """Return height and width of the whole LR."""
    height, width = pixels(image).shape[:2]
    return (height, width) if without_truth(image) else (height // scale, width // scale)


def stem(key: str) -> str:
    """Return how the names of files made with the network begin."""
    return source(key).stem
