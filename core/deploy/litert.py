"""Convert a network to a LiteRT file (TensorFlow Lite) and compare it with the network on photographs."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from core.deploy.litert_files import Graph, layer_operators, litert
from core.deploy.litert_network import LitertNetwork
from core.deploy.litert_shuffle import shuffles_to_depth_to_space
from core.deploy.onnx_export import PHOTOGRAPH, as_taken, check_agrees, picture_of, plain_network
from core.deploy.onnx_files import first_line
from core.deploy.rewritten_calls import ComputedKernels, Repeats, convolved
from core.images import demo_image
from core.networks.batchnorm import fold_batchnorm

MAX_SIDE = 4096  # pixels


def export_litert(model: nn.Module, size: tuple[int, int]) -> bytes:
    """Return the float network in eval mode as a LiteRT file: NHWC in and out, of one fixed size.

    size: height and width of the LR image in pixels. Input (1, H, W, 3) in [0, 1], output (1, scale*H,
    scale*W, 3), float32; a one-channel network takes and gives luma / 255. Tensors have the names of the
    layers that make them. Pixel shuffles are one operator, DEPTH_TO_SPACE, where the channels before it can
    be reordered for it, else seven that move values. The file is compared with the network on photographs of
    this size, as by `export_onnx`. ValueError for another size, a network that does not run on it, and an
    operator that does not convert; MissingExtra where LiteRT is not installed.

    >>> from core import create_model, export_litert
    >>> file = export_litert(create_model("xlsr", 3), (24, 32))  # doctest: +SKIP
    """
    network, (height, width) = plain_network(model), checked_size(size)
    lr = photographs(network, height, width)
    picture_of(network, lr)
    file = converted(network, lr[:1])
    graph = Graph(file)
    shuffles_to_depth_to_space(graph)
    file = graph.to_bytes()
    check_file(file, network, lr)
    return file


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size; ValueError if it is no height and width."""
    whole = isinstance(size, (tuple, list)) and all(type(n) is int and 0 < n <= MAX_SIDE for n in size)
    if not whole or len(size) != 2:
        raise ValueError(f"size must be a height and a width of 1 to {MAX_SIDE} pixels, got {size!r}")
    return tuple(size)


def photographs(network: nn.Module, height: int, width: int) -> torch.Tensor:
    """Return two photographs of the size, as the network takes them: (2, C, height, width)."""
    photograph = demo_image(PHOTOGRAPH)
    whole = photograph.repeat(1, 1, -(-height // photograph.shape[2]), -(-width // photograph.shape[3]))
    lr = torch.cat([whole[..., :height, :width], whole.flip(3)[..., -height:, :width]])
    return as_taken(network, lr)


def check_file(file: bytes, network: nn.Module, lr: torch.Tensor) -> None:
    """Raise ValueError if the file is not the network on the images (N, C, H, W)."""
    check_agrees(LitertNetwork(file)(lr), network, lr, type(network).__name__)


def converted(network: nn.Module, lr: torch.Tensor) -> bytes:
    """Return the file of a network from `plain_network` for images like lr (1, C, H, W), with layer names.

    ValueError, one sentence, if an operator does not convert.
    """
    kind = type(network).__name__
    with contextlib.suppress(ValueError):  # networks that torch.fx cannot trace keep their BatchNorms
        network = fold_batchnorm(network)
    with ComputedKernels(network) as computed:
        called = _called(network, lr)
    channels_last, image = (
        _ChannelsLast(network, computed.kernels).eval(),
        lr.permute(0, 2, 3, 1).contiguous(),
    )
    with quiet():
        channels_last(image)  # notes the kernels of repeats
        converter = litert("litert_torch")
        before, converter.config.show_progress = converter.config.show_progress, False
        try:
            made = converter.convert(channels_last, (image,)).model_content()
        except Exception as error:  # the converter may raise errors of any kind on a foreign network
            raise ValueError(f"{kind} cannot be converted to LiteRT: {first_line(error)}") from error
        finally:
            converter.config.show_progress = before
    graph = Graph(made)
    _name_after_layers(graph, _scopes(network, called))
    return graph.to_bytes()


def _called(network: nn.Module, lr: torch.Tensor) -> set[nn.Module]:
    """Return the modules that are called for a picture: a list of modules is not, nor what is looped over."""
    found: set[nn.Module] = set()
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: found.add(module))
        for module in network.modules()
    ]
    try:
        picture_of(network, lr)
    finally:
        for handle in handles:
            handle.remove()
    return found


class _ChannelsLast(nn.Module):
    """The network on images (1, H, W, C), as phones store them."""

    def __init__(self, network: nn.Module, kernels: list[torch.Tensor]):
        super().__init__()
        self.network = network
        self.kernels = nn.ParameterList(kernel.detach().clone() for kernel in kernels)
        self.repeats: dict[tuple[int, int], torch.Tensor] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        stored = ComputedKernels(self.network, self.kernels) if self.kernels else contextlib.nullcontext()
        with stored, Repeats(functools.partial(convolved, kernels=self.repeats)):
            return self.network(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the converter's packages warn and log about themselves off the screen."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _name_after_layers(graph: Graph, scopes: dict[str, str]) -> None:
    """Call tensors as the layers that make them, by `_scopes`, or else as their operators, in place."""
    names: dict[int, str] = {}
    taken: set[str] = set()

    def call(index: int, name: str) -> str:
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name}#{number}"
        taken.add(free)
        names.setdefault(index, free)
        return free

    call(graph.main.inputs[0], "lr")
    call(graph.main.outputs[0], "sr")
    for operator, _, weight in layer_operators(graph):
        layer = scopes.get(graph.name(weight).split(";")[0])
        if layer is not None:
            own = call(operator.outputs[0], layer)
            for index, part in zip(list(operator.inputs)[1:], ("weight", "bias"), strict=False):
                if index not in names and graph.constant(index) is not None:
                    call(index, f"{own}.{part}")
    for operator in graph.operators:
        kind = graph.kind(operator).lower()
        for index in operator.outputs:
            if index not in names:
                call(index, kind)
        for index in operator.inputs:
            if index >= 0 and index not in names:
                call(index, f"{kind}.constant")
    for index, name in names.items():
        graph.tensor(index).name = name.encode()


def _scopes(network: nn.Module, called: set[nn.Module]) -> dict[str, str]:
    """Map the converter's path of each module, classes and names of what is called, to its name here."""
    modules = dict(network.named_modules())
    root = f"{_class_of(_ChannelsLast)}/{_class_of(type(network))}_network"
    found = {root: "repeat"}  # what is no layer: channels that are repeated
    for name in [name for name, module in modules.items() if name and module in called]:
        parts = name.split(".")
        path = [(part, modules[".".join(parts[: i + 1])]) for i, part in enumerate(parts)]
        steps = [f"{_class_of(type(module))}_{part}" for part, module in path if module in called]
        found["/".join((root, *steps))] = name
    return found


def _class_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
