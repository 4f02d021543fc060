"""The way to a phone: ONNX export, static INT8 quantization and timing, all with ONNX Runtime.

DFSQ's codebooks and every dynamic normalization have no INT8 convolution to map to: what is quantized here is
the float network, uniformly, with ranges fixed by the representative images (`core.representative`).
"""

from __future__ import annotations

import copy
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from core.audit import Audit, AuditRow
from core.calibration import with_share
from core.config import FLOAT
from core.images import check_images
from core.quantize import Progress, peek
from core.scope import Layers, channel_dim_of, choose_layers

if TYPE_CHECKING:  # onnx and onnxruntime are imported where they are used: core's import stays as fast
    import onnx

OPSET = 18
TOLERANCE = 1e-4  # largest difference between the exported and the float network, outputs in [0, 1]
LAYER_OPS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# What only moves, joins or clips values. Where some layers stay float, nothing else runs in INT8 beside the
# chosen layers, so that a float trunk is not rounded on its way past them.
PASSING_OPS = ["Relu", "Clip", "Concat", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze"]
WEIGHT_PATH = {
    "Transpose",
    "Identity",
    "QuantizeLinear",
    "DequantizeLinear",
}  # from an initializer to a layer


def export_onnx(model: nn.Module) -> onnx.ModelProto:
    """The float network as an ONNX graph: "lr" (N, 3, H, W) -> "sr", with N, H and W free.

    Nodes carry the names of their layers. The graph is run on images of another number and size than it was
    made with, and has to agree with the network within 1e-4. ValueError if it does not, or if the network
    holds what ONNX has no operator for. The TorchScript exporter is used: unlike its successor it needs no
    further package, takes a tenth of the time, and warns of nothing inside torch itself.
    """
    model = _own_weights(model)
    random = torch.Generator().manual_seed(0)
    example, others = (torch.rand(size, generator=random) for size in ((1, 3, 24, 40), (2, 3, 19, 33)))
    axes = {"lr": {0: "n", 2: "height", 3: "width"}, "sr": {0: "n", 2: "sr_height", 3: "sr_width"}}
    file = io.BytesIO()
    kind = type(model).__name__
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's age; what it could not trace is found below
            torch.onnx.export(
                model, (example,), file, input_names=["lr"], output_names=["sr"], dynamic_axes=axes,
                dynamo=False, opset_version=OPSET, do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,
            )  # fmt: skip
    except Exception as error:  # whatever a foreign network provokes in the tracer
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{kind} cannot be exported to ONNX: {reason}") from error
    graph = _named_after_layers(file.getvalue(), model)
    for image in (example, others):
        _check_same(graph, model, image, kind)
    return graph


def _own_weights(model: nn.Module) -> nn.Module:
    """A copy on the CPU whose layers share no weight, so that the name of a weight tells whose it is."""
    if any(hasattr(module, "quantization") for module in model.modules()):
        raise ValueError(
            "the model is quantized already, in a way that no INT8 convolution does; give the float model"
        )
    model = copy.deepcopy(model).cpu().eval()
    model.training = True  # of the outermost module alone: the exporter then merges no weights that are equal
    for module in model.modules():
        if channel_dim_of(module) is not None and "weight" in module._parameters:
            module.weight = nn.Parameter(module.weight.detach().clone())
    return model


def _named_after_layers(serialized: bytes, model: nn.Module) -> onnx.ModelProto:
    import onnx

    proto = onnx.load_model_from_string(serialized)
    owner = {f"{name}.weight": name for name, m in model.named_modules() if channel_dim_of(m) is not None}
    calls = dict.fromkeys(owner.values(), 0)
    for node, source in _layer_nodes(proto.graph):
        if source in owner:
            name = owner[source]
            calls[name] += 1
            node.name = name if calls[name] == 1 else f"{name}#{calls[name]}"
    return proto


def _layer_nodes(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, str]]:
    """The nodes that multiply by a stored weight, each with the name of that tensor."""
    source = {tensor.name: tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in LAYER_OPS and node.input[1] in source:
            yield node, source[node.input[1]]
        elif node.op_type in WEIGHT_PATH and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]


def _check_same(graph: onnx.ModelProto, model: nn.Module, image: torch.Tensor, kind: str) -> None:
    size = "x".join(map(str, image.shape))
    with torch.no_grad():
        expected = model(image)
    try:
        got = OnnxNetwork(graph)(image)
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise ValueError(
            f"{kind} is bound to the image it is exported with: it does not run on {size}"
        ) from error
    if got.shape != expected.shape or not torch.allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE):
        away = (got - expected).abs().max().item() if got.shape == expected.shape else float("inf")
        raise ValueError(f"the export of {kind} is {away:.2g} away from the network on {size}")


class OnnxNetwork(nn.Module):
    """An ONNX graph run by ONNX Runtime on the CPU: (N, 3, H, W) -> (N, 3, scale*H, scale*W), float32.

    graph: a ModelProto, or the path of a file. Serves wherever a network does: `evaluate`, `super_resolve`.
    """

    def __init__(self, graph: onnx.ModelProto | str | Path, threads: int = 1):
        super().__init__()
        import onnx
        import onnxruntime

        if isinstance(graph, (str, Path)):
            graph = onnx.load(graph)
        self.receptive_radius = _reach(graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # fatal: errors are raised, and need not be printed too
        self.session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"lr": lr.numpy(force=True)})[0])


def _reach(graph: onnx.ModelProto) -> int:
    """How far, in LR pixels, an output pixel looks; as `core.receptive_radius` bounds it."""
    radius = 0
    for node in graph.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            given = {attribute.name: max(attribute.ints, default=1) for attribute in node.attribute}
            radius += given.get("dilations", 1) * (given["kernel_shape"] // 2)
    return radius


def quantize_int8(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    layers: Layers = None,
    progress: Progress = lambda what, share: None,
) -> onnx.ModelProto:
    """The network in INT8, as ONNX Runtime's static quantization makes it (QDQ nodes).

    images: representative LR images, as `quantize_model` takes them; so are `layers` and the choice without
    them, and what is not chosen stays float in the file (`audit_onnx` reads it back). Weights: signed, per
    output channel; activations: unsigned, per tensor, between the lowest and highest value on the images.
    Measured on XLSR x3, 8 Kodak images: weights per tensor lose 0.15 dB, of 7 bits 0.08 dB, a moving average
    of the ranges 0.04 dB; signed activations give the same picture, but a third of the convs then finds no
    integer kernel on x86. Old x86 processors without VNNI may saturate in these. ValueError if the network
    does not export or no layer is left. `progress(what, share)` may raise to cancel.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    first, images = peek(images)
    chosen, _ = choose_layers(model, layers, first)
    if not chosen:
        raise ValueError("no layer is left to quantize; name at least one of the network's convolutions")
    proto = export_onnx(_dense_groups(model))
    stays = [node.name for node, _ in _layer_nodes(proto.graph) if node.name.split("#")[0] not in chosen]
    ops = sorted(LAYER_OPS) + PASSING_OPS if stays else None
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        quant_pre_process(proto, source)  # infers shapes, folds constants and BatchNorm
        quantize_static(
            source, target, _Reader(images, progress), per_channel=True, nodes_to_exclude=stays,
            op_types_to_quantize=ops, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
        return _integer_shuffle(onnx.load(target))


class _Reader:
    """Feeds the images to ONNX Runtime, batch by batch, and tells how far it is."""

    def __init__(self, images, progress: Progress):
        self.batches, self.progress = with_share(images), progress

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch, share = next(self.batches, (None, 1.0))
        self.progress("Calibrating", share)
        return None if batch is None else {"lr": batch.numpy(force=True)}


def _dense_groups(model: nn.Module) -> nn.Module:
    """A copy whose grouped convs are dense, zeros between the groups: the same numbers.

    ONNX Runtime's integer kernel for groups is slow: XLSR's dense twin takes half the time (measured).
    Depthwise convs have a kernel of their own and stay.
    """
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is nn.Conv2d and 1 < module.groups < module.in_channels:
            weight, groups = module.weight.detach(), module.groups
            n_out, n_in = weight.shape[0] // groups, weight.shape[1]
            dense = weight.new_zeros(module.out_channels, module.in_channels, *weight.shape[2:])
            for group in range(groups):
                rows = slice(group * n_out, (group + 1) * n_out)
                dense[rows, group * n_in : (group + 1) * n_in] = weight[rows]
            module.weight, module.groups = nn.Parameter(dense), 1
    return model


def _integer_shuffle(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Let pixel shuffles move integers: give each the quantization of its input behind it too.

    ONNX Runtime's quantizer leaves DepthToSpace float. Nothing is rounded anew: only places change.
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


def audit_onnx(proto: onnx.ModelProto) -> Audit:
    """What the file does with every layer, read off its graph: INT8, or float. Prints as a table."""
    made_by = {name: node for node in proto.graph.node for name in node.output}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    rows = Audit()
    for node, source in _layer_nodes(proto.graph):
        made = [made_by.get(name) for name in node.input[:2]]
        integer = all(before is not None and before.op_type == "DequantizeLinear" for before in made)
        bits = 8 if integer else FLOAT
        method, reason = ("INT8", "") if integer else ("", "float in the file")
        constants = 2 * integer  # scale and zero point
        shape = shapes[source]
        rows.append(AuditRow(node.name, node.op_type, shape, method, bits, bits, None, constants, reason))
    return rows


def time_onnx(
    graphs: dict[str, onnx.ModelProto | str | Path],
    lr: torch.Tensor,
    threads: int = 1,
    runs: int = 41,
    progress: Progress = lambda what, share: None,
) -> dict[str, float]:
    """Median time in milliseconds of one forward of each graph on `lr` (N, 3, H, W) with that many threads.

    The graphs take turns, in an order drawn anew for every round, so that whatever else the machine does
    meets all of them alike. The first run of each, which allocates memory, does not count. `progress(what,
    share)` may raise to cancel.
    """
    check_images(lr, "lr")
    if runs < 1 or threads < 1:
        raise ValueError(f"runs and threads must be at least 1, got {runs} and {threads}")
    networks = {name: OnnxNetwork(graph, threads) for name, graph in graphs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in graphs}
    order = np.random.default_rng(0)
    for run in range(runs + 1):
        for name in order.permutation(list(networks)):
            start = time.perf_counter()
            networks[name](lr)
            seconds[name].append(time.perf_counter() - start)
        progress("Timing", run / runs)
    return {name: 1000 * statistics.median(taken[1:]) for name, taken in seconds.items()}
