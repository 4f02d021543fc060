"""Export a network as an ONNX graph and compare the graph with the network on photographs."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from core.deploy.onnx_files import first_line, layer_nodes
from core.deploy.onnx_network import OnnxNetwork
from core.deploy.rewritten_calls import ComputedKernels, Repeats, gathered
from core.images import check_images, demo_image
from core.images.colour import luma_of
from core.networks.batchnorm import fold_batchnorm
from core.networks.equalization import equalize_channels
from core.networks.folding import fold_parametrizations
from core.networks.running import check_network, image_alone, takes_luma
from core.ptq.audit import is_quantized
from core.ptq.calibration import with_share
from core.ptq.scope import channel_dim_of
from core.utils.progress import Progress

if TYPE_CHECKING:
    import onnx

OPSET = 18
TOLERANCE = 1e-4  # largest difference of the exported network, as a share of the output's range
# A network that amplifies rounding may differ by so many times the effect of the last bits of its image, at
# most by this share of the output's range.
AMPLIFIED, MAX_AMPLIFIED = 8, 1e-2
# Sizes to trace and to test; the first that the network runs on is used, since some need multiples.
TRACED = ((1, 24, 40), (1, 48, 96), (1, 128, 192))
TRIED = ((2, 19, 33), (2, 32, 16), (2, 96, 48), (2, 192, 128))
LARGER = ((1, 64, 80), (1, 128, 192))  # some networks go another way on large images
PHOTOGRAPH, TOP, LEFT = "astronaut (scikit-image)", 60, 120  # a face, hair and a flag


def export_onnx(model: nn.Module, images: torch.Tensor | None = None) -> onnx.ModelProto:
    """Return the float network in eval mode as an ONNX graph: "lr" (N, 3, H, W) -> "sr"; N, H and W are free.

    Everything is float32.

    Nodes have the names of their layers. Re-parameterized weights (weight norm, pruning, …) are stored as
    they are used; a compiled network is exported as the network inside. The graph is tested on parts of a
    packaged photograph, with another number and size of images than in the export, and on `images` (N, 3, H,
    W) if given. It must agree with the network within 1e-4 of the output's range; for a network that
    amplifies rounding, within the effect of the image's last bits, with a warning. ValueError if it does not
    agree, or if ONNX lacks an operator. The TorchScript exporter is used: unlike its successor it needs no
    further package, takes a tenth of the time, and triggers no warnings inside torch.

    >>> import torch
    >>> from core import OnnxNetwork, create_model, export_onnx
    >>> model, lr = create_model("xlsr", 3), torch.rand(1, 3, 24, 24)
    >>> graph = export_onnx(model)
    >>> torch.allclose(OnnxNetwork(graph)(lr), model(lr), atol=1e-4)
    True
    """
    network = plain_network(model)
    return export_plain(network, None if images is None else as_taken(network, check_images(images)))


def plain_network(model: nn.Module) -> nn.Module:
    """Return a float32 copy on the CPU in eval mode that stores the weights it computes with.

    It takes images alone and returns the picture alone, by the rules of `core.networks.running`.

    ValueError for a quantized model, TorchScript, and a network without weights or that cannot be copied.
    """
    check_network(model)
    if is_quantized(model):
        raise ValueError(
            "the model is quantized already, in a way that no INT8 convolution does; give the float model"
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ValueError(
            f"{type(model).__name__} is TorchScript, which hides its layers; give the Python network"
        )
    network = fold_parametrizations(model)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        raise ValueError(f"{type(model).__name__} has no weights yet (device meta); load them first")
    network = network.cpu().float()
    with contextlib.suppress(NotImplementedError):  # graphs of torch.export have one mode alone
        network.eval()
    return image_alone(network, torch.zeros(1, 3, 48, 48))


def equalized(
    network: nn.Module, images: torch.Tensor | Iterable[torch.Tensor], progress: Progress
) -> nn.Module:
    """Return a network from `plain_network` with equal channels, or as it is where that is not possible."""

    def taken() -> Iterator[torch.Tensor]:
        for batch, share in with_share(images):
            progress("Equalizing channels", share)
            yield as_taken(network, batch)

    try:
        return equalize_channels(fold_batchnorm(network), taken())
    except ValueError:  # torch.fx cannot trace it, or it uses its weights in another way too
        return network


def as_taken(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the images (N, 3, H, W) in float32, or luma / 255 (N, 1, H, W) for a one-channel network."""
    images = images.float().cpu()
    return luma_of(images) if takes_luma(network) and images.shape[1] == 3 else images


def picture_of(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the network's picture of images as it takes them; ValueError if it fails or is not finite."""
    kind, size = type(network).__name__, "x".join(map(str, images.shape))
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            sr = network(images.clone())  # a network may work on its input in place
    except Exception as error:  # a foreign network may raise errors of any kind
        raise ValueError(f"{kind} does not run on {size}: {first_line(error)}") from error
    if not isinstance(
        sr, torch.Tensor
    ):  # torch.fx's graphs lose in copies that they return the picture alone
        raise ValueError(f"{kind} returns more than the picture; give a module that returns it alone")
    if not sr.isfinite().all():
        raise ValueError(f"{kind} gives values that are not finite on {size}; repair its weights first")
    return sr


def export_plain(network: nn.Module, images: torch.Tensor | None = None) -> onnx.ModelProto:
    """Return `export_onnx` of a network from `plain_network`, with images in the form that it takes."""
    network, kind = _own_weights(network), type(network).__name__
    example = _first_that_runs(network, TRACED)
    tried = [example, *(_first_that_runs(network, sizes) for sizes in (TRIED, LARGER))]
    tried += [] if images is None else [images]
    with ComputedKernels(network) as computed:
        picture_of(network, example)
    traced = _Traced(network, computed.kernels)
    graph = _to_onnx(traced, example, kind)
    _name_after_layers(graph, network, computed.owners)
    for lr in tried:
        _check_same(graph, network, lr, kind, lr is example)
    return graph


def _own_weights(network: nn.Module) -> nn.Module:
    """Return a copy whose layers share no weight, so that a weight's name identifies its layer."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if channel_dim_of(module) is not None and "weight" in dict(module.named_parameters(recurse=False)):
            module.weight = nn.Parameter(module.weight.detach().clone())
    return network


def _first_that_runs(network: nn.Module, sizes: tuple[tuple[int, int, int], ...]) -> torch.Tensor:
    """Cut photographs of the first of `sizes` (N, H, W) that the network runs on, as it takes them."""
    photograph = demo_image(PHOTOGRAPH)
    refusal: ValueError | None = None
    for number, height, width in sizes:
        tops = range(TOP, TOP + number * 10, 10)
        lr = torch.cat([photograph[..., top : top + height, LEFT : LEFT + width] for top in tops])
        lr = as_taken(network, lr)
        try:
            picture_of(network, lr)
        except ValueError as error:
            refusal = refusal or error
        else:
            return lr
    raise refusal


class _Traced(nn.Module):
    """A wrapper in training mode around the network in eval mode.

    The exporter asks only the outermost module for its mode, and merges no equal weights in training mode.
    """

    def __init__(self, network: nn.Module, kernels: list[torch.Tensor]):
        super().__init__()
        self.network = network
        self.kernels = nn.ParameterList(kernel.detach().clone() for kernel in kernels)
        self.training = True

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        # The exporter always turns its log on, which would print the whole graph when it fails.
        torch._C._jit_set_onnx_log_enabled(False)  # noqa: SLF001
        stored = ComputedKernels(self.network, self.kernels) if self.kernels else contextlib.nullcontext()
        with stored, Repeats(gathered):
            return self.network(lr)


def _to_onnx(traced: nn.Module, example: torch.Tensor, kind: str) -> onnx.ModelProto:
    import onnx

    axes = {"lr": {0: "n", 2: "height", 3: "width"}, "sr": {0: "n", 2: "sr_height", 3: "sr_width"}}
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
            warnings.simplefilter("ignore")  # about the old exporter; wrong traces are found by _check_same
            torch.onnx.export(
                traced, (example,), file, input_names=["lr"], output_names=["sr"], dynamic_axes=axes,
                dynamo=False, opset_version=OPSET, do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,
            )  # fmt: skip
    except Exception as error:  # the tracer may raise errors of any kind on a foreign network
        raise ValueError(f"{kind} cannot be exported to ONNX: {first_line(error)}") from error
    return onnx.load_model_from_string(file.getvalue())


def _name_after_layers(proto: onnx.ModelProto, network: nn.Module, owners: list[str | None]) -> None:
    """Give the nodes the names of their layers, in place; owners: the layers of the computed kernels."""
    layers = [name for name, module in network.named_modules() if channel_dim_of(module) is not None]
    owner = {f"network.{name}.weight" if name else "network.weight": name for name in layers}
    owner |= {f"kernels.{i}": name for i, name in enumerate(owners) if name is not None}
    calls = dict.fromkeys(layers, 0)
    for node, weight in layer_nodes(proto.graph):
        if weight.name in owner:
            name = owner[weight.name]
            calls[name] += 1
            node.name = name if calls[name] == 1 else f"{name}#{calls[name]}"


def _check_same(
    graph: onnx.ModelProto, network: nn.Module, lr: torch.Tensor, kind: str, traced: bool
) -> None:
    """ValueError if the graph is not the network on `lr`; traced: whether it was made with that image."""
    size = "x".join(map(str, lr.shape))
    try:
        got = OnnxNetwork(graph)(lr)
    except ValueError as error:
        if traced:
            raise ValueError(f"the graph of {kind} does not run: {first_line(error)}") from error
        raise ValueError(
            f"{kind} is bound to the image it is exported with: it does not run on {size}"
        ) from error
    check_agrees(got, network, lr, kind, stacklevel=5)


def check_agrees(
    got: torch.Tensor, network: nn.Module, lr: torch.Tensor, kind: str, stacklevel: int = 4
) -> None:
    """Raise ValueError if a file's picture is not the network's of `lr`; warn if it amplifies rounding."""
    expected, size = picture_of(network, lr), "x".join(map(str, lr.shape))
    away = (got - expected).abs().max().item() if got.shape == expected.shape else float("inf")
    if away <= TOLERANCE * _spread(expected):
        return
    # A network that amplifies rounding may differ as much as the last bits of its image change it.
    if not away <= _rounding(network, lr, expected):
        raise ValueError(f"the export of {kind} is {away:.2g} away from the network on {size}")
    warnings.warn(
        f"{kind} amplifies rounding: its file gives the same picture within {away:.2g} alone",
        stacklevel=stacklevel,
    )


def _rounding(network: nn.Module, lr: torch.Tensor, expected: torch.Tensor) -> float:
    """Return several times the change by the image's last bits, at most a hundredth of the output's range."""
    random = torch.Generator().manual_seed(0)
    bits = torch.randint(-1, 2, lr.shape, generator=random) * torch.finfo(lr.dtype).eps
    away = (picture_of(network, lr * (1 + bits)) - expected).abs().max().item()
    return min(AMPLIFIED * away, MAX_AMPLIFIED * _spread(expected))


def _spread(sr: torch.Tensor) -> float:
    """Return the range of the output, at least a hundredth of its largest magnitude."""
    return max((sr.max() - sr.min()).item(), sr.abs().max().item() / 100)
