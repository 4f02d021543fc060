"""Static INT8 quantization with ONNX Runtime (QDQ nodes).

DFSQ's codebooks and dynamic normalization cannot run as an INT8 convolution. Therefore the float network is
quantized here, uniformly, with ranges fixed by the representative images (`core.deploy.representative`).
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from core.deploy.onnx_export import as_taken, equalized, export_plain, picture_of, plain_network
from core.deploy.onnx_files import LAYER_OPS, PASSING_OPS, first_line
from core.deploy.own_ranges import Ranges, as_they_are, opened
from core.ptq.calibration import recorded, with_share
from core.ptq.config import FLOAT, QuantConfig
from core.ptq.quantize import peek
from core.ptq.scope import Layers, check_layers, choose_weighted
from core.utils.progress import Progress

if TYPE_CHECKING:
    import onnx

NOTHING = 1e-12  # a weight so small that it changes no output
# These run in float in any case; the per-channel quantizer fails on their weights, which have one axis.
NORMALIZATIONS = {"InstanceNormalization", "LayerNormalization", "GroupNormalization"}


def quantize_int8(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    layers: Layers = None,
    progress: Progress = lambda what, share: None,
    config: QuantConfig | None = None,
    equalize: bool = True,
) -> onnx.ModelProto:
    """Return the network in INT8, quantized statically by ONNX Runtime (QDQ nodes).

    images: representative LR images, as for `quantize_model`; so are `layers` and their default. Other layers
    stay float in the file (`audit_onnx` lists them). Weights: signed, per output channel; activations:
    unsigned, per tensor, from the lowest to the highest value on the images. Measured on XLSR x3, 8 Kodak
    images: weights per tensor lose 0.15 dB, of 7 bits 0.08 dB, a moving average of the ranges 0.04 dB; signed
    activations give the same picture, but then a third of the convs has no integer kernel on x86. Old x86
    processors without VNNI may saturate in these. config: a layer that is float by its bits by layer stays
    float here too; any other has 8 bits, the only ones there are. equalize: scale the channels between
    convolutions first (`equalize_channels`); it halves the loss of XLSR.

    A model that is quantized already, by a static method at W8A8 with one range a tensor, goes into the file
    as it is: its layers, its weights (rounded once more where 0 is not one of their levels) and the ranges of
    its layers' inputs. The images then give the ranges of what lies between; layers, config and equalize say
    nothing. ValueError if the network cannot be exported or no layer is left. `progress(what, share)` may
    raise to cancel.

    >>> import torch
    >>> from core import OnnxNetwork, create_model, quantize_int8
    >>> lr = torch.rand(1, 3, 24, 24)
    >>> int8 = quantize_int8(create_model("xlsr", 3), lr)
    >>> OnnxNetwork(int8)(lr).shape
    torch.Size([1, 3, 72, 72])
    """
    first, images = peek(images)
    model, ranges = opened(model)
    layers, equalize = (list(ranges), False) if ranges else (layers, equalize)
    network = plain_network(model)
    check_layers(network)
    first = as_taken(network, first)
    picture_of(network, first)
    chosen, _ = choose_weighted(network, layers, first)
    if config is not None:
        chosen = [name for name in chosen if FLOAT not in _bits_of(config, name)]
    if not chosen:
        raise ValueError("no layer is left to quantize; name at least one of the network's convolutions")
    if equalize:
        images = images if isinstance(images, (torch.Tensor, Sequence)) else list(images)
        network = equalized(network, images, progress)
    graph = export_plain(_no_zero_rows(_dense_groups(network, chosen)), first)
    products = {node.name.split("#")[0] for node in graph.graph.node}
    check_named(products, network, chosen, first, "ONNX")
    reader = _Reader(images, network, progress)
    return _used_opsets(_integer_shuffle(_static(graph, set(chosen), reader, type(network).__name__, ranges)))


def _bits_of(config: QuantConfig, name: str) -> tuple[int, int]:
    """Return the bits of the layer's weights and activations."""
    own = config.for_layer(name)
    return own.weight_bits, own.activation_bits


def check_named(
    products: set[str], network: nn.Module, chosen: list[str], first: torch.Tensor, form: str
) -> None:
    """Raise ValueError if a chosen layer runs, but is none of the `products` in the file of that form."""
    lost = [name for name in chosen if name not in products]
    ran: set[str] = set()
    with recorded(network, lost, lambda name, x: ran.add(name)):
        picture_of(network, first)
    if ran:
        raise ValueError(
            f"{form} has no convolution or product for {', '.join(sorted(ran))} of {type(network).__name__}; "
            "name the other layers"
        )


def _static(
    graph: onnx.ModelProto, chosen: set[str], reader: _Reader, kind: str, ranges: Ranges
) -> onnx.ModelProto:
    """Quantize the chosen layers; if these are all layers, also everything between them."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    products = [node.name for node in graph.graph.node if node.op_type in LAYER_OPS]
    stays = [name for name in products if name.split("#")[0] not in chosen]
    norms = [node.name for node in graph.graph.node if node.op_type in NORMALIZATIONS]
    # If some layers stay float, only the others and what passes their values on run in INT8, so that float
    # features on a skip connection are not rounded.
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        try:
            # Folds constants and BatchNorm. Symbolic shape inference does not help where H and W are free: it
            # fails on an interpolation that is added to a pixel shuffle.
            quant_pre_process(graph, source, skip_symbolic_shape=True)
            overrides = as_they_are(onnx.load(source).graph, ranges)
            quantize_static(
                source, target, reader, per_channel=True, nodes_to_exclude=stays + norms,
                op_types_to_quantize=sorted(LAYER_OPS) + PASSING_OPS if stays else None,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"TensorQuantOverrides": overrides},
            )  # fmt: skip
            return onnx.load(target)
        except Exception as error:  # onnxruntime's errors have no common base class
            if error is reader.failed:
                raise
            raise ValueError(f"ONNX Runtime cannot quantize {kind}: {first_line(error)}") from error


class _Reader:
    """A reader for ONNX Runtime: images in batches, in the form that the network takes, with progress."""

    def __init__(self, images, network: nn.Module, progress: Progress):
        self.batches, self.network, self.progress = with_share(images), network, progress
        self.failed: Exception | None = None  # raised by the images or by `progress`

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch by input name, None at the end."""
        try:
            batch, share = next(self.batches, (None, 1.0))
            self.progress("Calibrating", share)
        except Exception as error:
            self.failed = error
            raise
        return None if batch is None else {"lr": as_taken(self.network, batch).numpy()}


def _dense_groups(model: nn.Module, chosen: list[str]) -> nn.Module:
    """Return a copy with dense convs for the chosen grouped ones, zeros between the groups; it does the same.

    ONNX Runtime's integer kernel for groups is slow: a dense XLSR takes half the time (measured). For
    transposed convs it mistakes the outputs of one group for all outputs. Convs whose groups have one input
    channel, and transposed convs whose groups have one output channel, stay.
    """
    model = copy.deepcopy(model)
    for module in map(model.get_submodule, chosen):
        groups, transposed = getattr(module, "groups", 1), type(module) is nn.ConvTranspose2d
        few = type(module) is nn.Conv2d and groups < module.in_channels
        if groups > 1 and (few or (transposed and groups < module.out_channels)):
            weight = module.weight.detach()  # both kinds: (rows of all groups, columns of one, height, width)
            blocks = weight.unflatten(0, (groups, -1))
            rows, columns = blocks.shape[1:3]
            dense = weight.new_zeros(len(weight), groups * columns, *weight.shape[2:])
            for group, block in enumerate(blocks):
                across = slice(group * columns, (group + 1) * columns)
                dense[group * rows : (group + 1) * rows, across] = block
            module.weight, module.groups = nn.Parameter(dense), 1
    return model


def _no_zero_rows(model: nn.Module) -> nn.Module:
    """Give output channels without any weight one tiny weight, in place: the same outputs.

    ONNX Runtime gives weights that are all 0 a scale of 1, which would round the channel's bias to the steps
    of the layer's input; it chooses small scales so that the bias fits.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            weight = module.weight.data
            rows = weight if isinstance(module, nn.Conv2d) else weight.transpose(0, 1)
            dead = rows.abs().amax((1, 2, 3)) < NOTHING
            rows[dead] = 0
            rows[dead, 0, 0, 0] = NOTHING
    return model


def _used_opsets(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Name only the operator sets that the graph uses; ONNX Runtime names all, and converters stop there."""
    used = {"" if node.domain == "ai.onnx" else node.domain for node in proto.graph.node}
    kept = [opset for opset in proto.opset_import if opset.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    return proto


def _integer_shuffle(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Let pixel shuffles move integers, by quantizing their output like their input.

    ONNX Runtime's quantizer leaves DepthToSpace float. No value is rounded again: only places change.
    """
    from onnx import helper

    graph = proto.graph
    made_by = {name: node for node in graph.node for name in node.output}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        before = made_by.get(node.input[0]) if node.op_type == "DepthToSpace" else None
        if before is None or before.op_type != "DequantizeLinear":
            continue
        out, parameters = node.output[0], list(before.input[1:])
        node.output[0] = f"{out}_shuffled"
        nodes.append(
            helper.make_node("QuantizeLinear", [node.output[0], *parameters], [f"{out}_int8"], f"{out}_Q")
        )
        nodes.append(helper.make_node("DequantizeLinear", [f"{out}_int8", *parameters], [out], f"{out}_DQ"))
    del graph.node[:]
    graph.node.extend(nodes)
    return proto
