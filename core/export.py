"""A network as an ONNX graph, compared with the network itself on photographs."""

from __future__ import annotations

import copy
import io
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

from core.audit import is_quantized
from core.folding import fold_parametrizations
from core.images import demo_image
from core.onnx_files import first_line, layer_nodes
from core.onnx_network import OnnxNetwork
from core.scope import channel_dim_of

if TYPE_CHECKING:
    import onnx

OPSET = 18
TOLERANCE = 1e-4  # of the output's range: largest difference between the exported and the float network
AMPLIFIED, MOST = 8, 1e-2  # for a network that amplifies rounding: times its own, and of the output's range
# Sizes to trace and to try: of each the first that the network itself runs on, since some want multiples.
TRACED = ((1, 24, 40), (1, 48, 96), (1, 128, 192))
TRIED = ((2, 19, 33), (2, 32, 16), (2, 96, 48), (2, 192, 128))
PHOTOGRAPH, TOP, LEFT = "astronaut (scikit-image)", 60, 120  # a face, hair and a flag


def export_onnx(model: nn.Module, images: torch.Tensor | None = None) -> onnx.ModelProto:
    """The float network in eval mode as an ONNX graph: "lr" (N, 3, H, W) -> "sr", float32, N, H and W free.

    Nodes carry the names of their layers. Weights that are re-parameterized (weight norm, pruning, …) are
    stored as they are used; a compiled network is exported as what is inside. The graph is run on parts of a
    packaged photograph, of another number and size than it was made with, and on `images` (N, 3, H, W) if
    they are given, and has to agree with the network within 1e-4 of its output's range. ValueError if it does
    not, or if the network holds what ONNX has no operator for. The TorchScript exporter is used: unlike its
    successor it needs no further package, takes a tenth of the time, and warns of nothing inside torch
    itself.
    """
    return export_plain(plain_network(model), images)


def plain_network(model: nn.Module) -> nn.Module:
    """A float32 copy on the CPU in eval mode that stores the weights it runs with.

    ValueError for a quantized model or one that cannot be copied.
    """
    if is_quantized(model):
        raise ValueError(
            "the model is quantized already, in a way that no INT8 convolution does; give the float model"
        )
    return fold_parametrizations(model).cpu().float().eval()


def export_plain(network: nn.Module, images: torch.Tensor | None = None) -> onnx.ModelProto:
    """`export_onnx` of what `plain_network` made."""
    network, kind = _own_weights(network), type(network).__name__
    example, expected = _first_that_runs(network, TRACED, kind)
    pairs = [(example, expected), _first_that_runs(network, TRIED, kind)]
    if images is not None:
        pairs.append((images, _run(network, images)))
    graph = _named_after_layers(_traced(network, example, kind), network)
    for lr, sr in pairs:
        _check_same(graph, network, lr, sr, kind)
    return graph


def _own_weights(network: nn.Module) -> nn.Module:
    """A copy whose layers share no weight, so that the name of a weight tells whose it is."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if channel_dim_of(module) is not None and "weight" in module._parameters:
            module.weight = nn.Parameter(module.weight.detach().clone())
    return network


@torch.no_grad()
def _run(network: nn.Module, lr: torch.Tensor) -> torch.Tensor:
    sr = network(lr)
    if not isinstance(sr, torch.Tensor):
        raise TypeError(f"it returns a {type(sr).__name__}, not its picture alone")
    return sr


def _first_that_runs(network: nn.Module, sizes, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph, of the first of these sizes that the network runs on, and what it makes of it."""
    photograph = demo_image(PHOTOGRAPH)
    failed: Exception | None = None
    for number, height, width in sizes:
        tops = range(TOP, TOP + number * 10, 10)
        lr = torch.cat([photograph[..., top : top + height, LEFT : LEFT + width] for top in tops])
        try:
            return lr, _run(network, lr)
        except Exception as error:  # whatever a foreign network raises
            failed = failed or error
    raise ValueError(f"{kind} cannot be exported to ONNX: {first_line(failed)}") from failed


class _Traced(nn.Module):
    """The network inside a module that is in training mode, as only the outermost one is asked about.

    The exporter then merges no weights that are equal, while the network itself is in eval mode throughout.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.training = True

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        # The exporter turns its log on, always: it would print the whole graph where it fails.
        torch._C._jit_set_onnx_log_enabled(False)
        return self.network(lr)


def _traced(network: nn.Module, example: torch.Tensor, kind: str) -> bytes:
    axes = {"lr": {0: "n", 2: "height", 3: "width"}, "sr": {0: "n", 2: "sr_height", 3: "sr_width"}}
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's age; what it could not trace is found below
            torch.onnx.export(
                _Traced(network), (example,), file, input_names=["lr"], output_names=["sr"],
                dynamic_axes=axes, dynamo=False, opset_version=OPSET, do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,
            )  # fmt: skip
    except Exception as error:  # whatever a foreign network provokes in the tracer
        raise ValueError(f"{kind} cannot be exported to ONNX: {first_line(error)}") from error
    return file.getvalue()


def _named_after_layers(serialized: bytes, network: nn.Module) -> onnx.ModelProto:
    import onnx

    proto = onnx.load_model_from_string(serialized)
    layers = [name for name, module in network.named_modules() if channel_dim_of(module) is not None]
    owner = {f"network.{name}.weight" if name else "network.weight": name for name in layers}
    calls = dict.fromkeys(layers, 0)
    for node, weight in layer_nodes(proto.graph):
        if weight.name in owner:
            name = owner[weight.name]
            calls[name] += 1
            node.name = name if calls[name] == 1 else f"{name}#{calls[name]}"
    return proto


def _check_same(
    graph: onnx.ModelProto, network: nn.Module, lr: torch.Tensor, expected: torch.Tensor, kind: str
) -> None:
    size = "x".join(map(str, lr.shape))
    try:
        got = OnnxNetwork(graph)(lr)
    except ValueError as error:
        raise ValueError(
            f"{kind} is bound to the image it is exported with: it does not run on {size}"
        ) from error
    if not expected.isfinite().all():
        raise ValueError(f"{kind} gives values that are not finite on {size}; repair its weights first")
    away = (got - expected).abs().max().item() if got.shape == expected.shape else float("inf")
    # What amplifies rounding is held to what it makes itself of its image's last bits.
    if not away <= TOLERANCE * _spread(expected) and not away <= _rounding(network, lr, expected):
        raise ValueError(f"the export of {kind} is {away:.2g} away from the network on {size}")


@torch.no_grad()
def _rounding(network: nn.Module, lr: torch.Tensor, expected: torch.Tensor) -> float:
    """Several times what the last bits of the image change, at most a hundredth of the output's range."""
    random = torch.Generator().manual_seed(0)
    bits = torch.randint(-1, 2, lr.shape, generator=random) * torch.finfo(lr.dtype).eps
    away = (network(lr * (1 + bits)) - expected).abs().max().item()
    return min(AMPLIFIED * away, MOST * _spread(expected))


def _spread(sr: torch.Tensor) -> float:
    """The range of the output, or a hundredth of its values where it hardly has one."""
    return max((sr.max() - sr.min()).item(), sr.abs().max().item() / 100)
