"""Static INT8 files for LiteRT, with this project's own ranges and weights.

The engine's quantizer writes the file. It takes the ranges of all tensors from outside, and here these are
the lowest and highest values on the images (it would average them), after `equalize_channels`, which lets
one range suit all channels of a tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from core.deploy.litert import check_file, checked_size, converted, photographs, quiet
from core.deploy.litert_files import LAYER_OPS, Graph, layer_name, layer_operators, litert
from core.deploy.litert_shuffle import MOVES, shuffles_to_depth_to_space
from core.deploy.onnx_export import as_taken, equalized, picture_of, plain_network
from core.deploy.onnx_files import first_line
from core.deploy.onnx_int8 import check_named
from core.deploy.own_ranges import Ranges, opened, widest
from core.ptq.calibration import batches, with_share
from core.ptq.quantize import peek
from core.ptq.scope import Layers, check_layers, choose_weighted, has_weights
from core.utils.progress import Progress

BITS = 8
LAST = 2 ** (BITS - 1) - 1  # weights have the levels -LAST to LAST
SHARES = np.linspace(1, 0.6, 161)  # of the largest weight, tried as the largest level
CLIP = "RELU_0_TO_1"
CLIPS = ("folded", "float", "integer")
# Operators that only move or join values; the rest follows the layers, see `_recipe`.
PASSING_OPS = ("CONCATENATION", "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "RELU")
EVERY_LAYER = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED")


def quantize_litert(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    layers: Layers = None,
    size: tuple[int, int] | None = None,
    integer_ports: bool = False,
    clip: str = "folded",
    equalize: bool = True,
    progress: Progress = lambda what, share: None,
) -> bytes:
    """Return the network as a LiteRT file in INT8, quantized statically; NHWC, of one fixed size.

    images: representative LR images (N, 3, H, W) in [0, 1], or several such tensors of one H and W. layers:
    as for `quantize_int8`; other layers stay float (`audit_litert` lists them). size: height and width of
    the file's input; the images' own by default. integer_ports: input and output in INT8, with the scales in
    the file, else float32. Weights are signed and symmetric, per output channel; activations signed, per
    tensor, from the lowest to the highest value on the images; [0, 1] for the input where all images lie in
    it. equalize: scale the channels between convolutions first, see `equalize_channels`. A model that is
    quantized already goes into the file as for `quantize_int8`, its weights rounded once more. clip: what
    becomes of a clip to [0, 1]: "folded" into the range of the tensor before it, which then saturates there;
    "float", as the converter and the engine's quantizer leave it; "integer", an operator on integers.
    ValueError for a network that cannot be converted, images of several sizes, or if no layer is left;
    MissingExtra where LiteRT is not installed. `progress(what, share)` may raise to cancel.
    """
    if clip not in CLIPS:
        raise ValueError(f"clip must be one of {', '.join(CLIPS)}, got {clip!r}")
    litert("ai_edge_quantizer.quantizer")
    images, seen = _of_one_size(images)
    model, own = opened(model)
    layers, equalize = (list(own), False) if own else (layers, equalize)
    network = plain_network(model)
    check_layers(network)
    first = as_taken(network, images[0][:1])
    picture_of(network, first)
    chosen, _ = choose_weighted(network, layers, first)
    if not chosen:
        raise ValueError("no layer is left to quantize; name at least one of the network's convolutions")
    size = seen if size is None else checked_size(size)
    if equalize:
        network = equalized(network, images, progress)
    file = converted(network, first)
    graph = Graph(file)
    products = {layer_name(graph, operator).split("#")[0] for operator, _, _ in layer_operators(graph)}
    check_named(products, network, chosen, first, "LiteRT")
    ranges = _ranges(file, [as_taken(network, batch) for batch in images], progress)
    _take_ranges(ranges, own, graph)
    if size != seen:
        file = converted(network, photographs(network, *size)[:1])
    check_file(file, network, photographs(network, *size))
    every = _is_every(network, chosen)
    return _static(file, ranges, chosen, every, integer_ports, clip, type(model).__name__)


def _of_one_size(images) -> tuple[list[torch.Tensor], tuple[int, int]]:
    """Return the images as a list of batches, and their height and width."""
    _, images = peek(images)
    found = list(batches(images))
    sizes = sorted({tuple(batch.shape[-2:]) for batch in found})
    if len(sizes) > 1:
        shown = ", ".join("x".join(map(str, size)) for size in sizes[:3])
        raise ValueError(f"a LiteRT file has one size, and the images have {shown}; cut them to one")
    return found, sizes[0]


def _is_every(network: nn.Module, chosen: list[str]) -> bool:
    """Whether the chosen layers are all layers of the network."""
    return {n for n, m in network.named_modules() if has_weights(m)} == set(chosen)


def _ranges(file: bytes, images: list[torch.Tensor], progress: Progress) -> Ranges:
    """Return the lowest and highest value of each tensor by name, on the images (N, C, H, W)."""
    engine, graph = litert("ai_edge_litert.interpreter"), Graph(file)
    interpreter = engine.Interpreter(
        model_content=file, experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=engine.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )  # fmt: skip
    interpreter.allocate_tensors()
    made = [i for op in graph.operators for i in op.outputs if graph.tensor(i).type == 0]
    ends = dict.fromkeys([*graph.main.inputs, *made], (0.0, 0.0))  # 0 is always a level
    for batch, share in with_share(images):
        for image in batch.permute(0, 2, 3, 1).contiguous().numpy():
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
            interpreter.invoke()
            for index, (low, high) in ends.items():
                values = interpreter.get_tensor(int(index))
                ends[index] = min(low, float(values.min())), max(high, float(values.max()))
        progress("Calibrating", share)
    entry = graph.main.inputs[0]
    if ends[entry][0] >= 0 and ends[entry][1] <= 1:
        ends[entry] = 0.0, 1.0  # then 8-bit images are on the levels
    return {graph.name(index): found for index, found in ends.items()}


def _take_ranges(ranges: Ranges, own: Ranges, graph: Graph) -> None:
    """Replace the ranges of what these layers read, in place."""
    for tensor, ends in widest(
        (graph.name(x), own[name])
        for operator, x, _ in layer_operators(graph)
        if (name := layer_name(graph, operator).split("#")[0]) in own
    ).items():
        ranges[tensor] = ends


def _static(file, ranges, chosen, every: bool, integer_ports: bool, clip: str, kind: str) -> bytes:
    """Let the engine's quantizer write the file with the ranges."""
    graph = Graph(file)
    for operator in graph.operators:
        if graph.kind(operator) == CLIP:
            ranges[graph.name(operator.outputs[0])] = 0.0, 1.0
    if clip == "folded":
        _fold_clips(graph, ranges, chosen, every)
    _share_ranges_of_moves(graph, ranges)
    file = graph.to_bytes()
    with quiet():
        quantizer = litert("ai_edge_quantizer.quantizer").Quantizer(bytearray(file))
        _recipe(quantizer, graph, chosen, every, integer_ports)
        found = {name: {"min": np.array(low), "max": np.array(high)} for name, (low, high) in ranges.items()}
        found |= _weight_ranges(graph)
        try:
            made = quantizer.quantize(found, enable_progress_bar=False, enable_progress_report=False)
        except Exception as error:  # the quantizer may raise errors of any kind
            raise ValueError(f"LiteRT's quantizer cannot quantize {kind}: {first_line(error)}") from error
    graph = Graph(bytes(made.quantized_model))
    if clip == "integer":
        integer_clips(graph)
    shuffles_to_depth_to_space(graph)
    return graph.to_bytes()


def _weight_ranges(graph: Graph) -> dict[str, dict[str, np.ndarray]]:
    """Return the symmetric range of the lowest squared error for each output channel of the weights."""
    found = {}
    for operator, _, weight in layer_operators(graph):
        axis = 3 if graph.kind(operator) == "DEPTHWISE_CONV_2D" else 0
        values = np.moveaxis(graph.constant(weight), axis, 0)
        rows = torch.from_numpy(values.reshape(len(values), -1).astype(np.float64))
        largest = rows.abs().amax(1, keepdim=True)
        shape = [-1 if dim == axis else 1 for dim in range(4)][: len(graph.shape(weight))]
        high = _best_symmetric(rows, largest).numpy().reshape(shape).astype(np.float32)
        found[graph.name(weight)] = {"min": -high, "max": high}
    return found


def _best_symmetric(rows: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """Return the largest level (R, 1) of the symmetric levels with the lowest squared error for each row."""
    best, least = largest.clone(), torch.full_like(largest, torch.inf)
    for share in SHARES:
        step = (share * largest / LAST).clamp(min=torch.finfo(torch.float32).tiny)
        error = ((rows / step).round().clamp(-LAST, LAST) * step - rows).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, share * largest, best), torch.minimum(error, least)
    return best


def _fold_clips(graph: Graph, ranges: Ranges, chosen: list[str], every: bool) -> None:
    """Take out clips behind what runs in INT8, in place: the tensor there saturates instead.

    Between them, values may be moved. A clip behind what stays float, or what others read too, stays.
    """
    for operator in [op for op in graph.operators if graph.kind(op) == CLIP]:
        before, after = operator.inputs[0], operator.outputs[0]
        source, alone = before, len(graph.users(before)) == 1
        while alone and graph.maker(source) is not None and graph.kind(graph.maker(source)) in MOVES:
            source = graph.maker(source).inputs[0]
            alone = len(graph.users(source)) == 1
        maker = graph.maker(source)
        if not alone or maker is None or not _runs_in_int8(graph, maker, chosen, every):
            continue
        last, name = graph.maker(before), graph.name(before)
        last.outputs = [after if i == before else i for i in last.outputs]
        if not graph.is_output(after):
            ranges[name] = ranges.pop(graph.name(after))
            graph.tensor(after).name = name.encode()
        if source != before:
            ranges[graph.name(source)] = 0.0, 1.0
        graph.main.operators = [op for op in graph.operators if op is not operator]


def _runs_in_int8(graph: Graph, operator, chosen: list[str], every: bool) -> bool:
    """Whether the operator is a quantized layer, or a sum in a network that is quantized as a whole."""
    if graph.kind(operator) in LAYER_OPS:
        return layer_name(graph, operator).split("#")[0] in chosen
    return every and graph.kind(operator) in ("ADD", "SUB", "MUL")


def _share_ranges_of_moves(graph: Graph, ranges: Ranges) -> None:
    """Give what is only moved the range of what it was, in place: places change, not values."""
    for operator in graph.operators:
        if graph.kind(operator) in MOVES and graph.name(operator.inputs[0]) in ranges:
            ranges[graph.name(operator.outputs[0])] = ranges[graph.name(operator.inputs[0])]


def _recipe(quantizer, graph: Graph, chosen: list[str], every: bool, integer_ports: bool) -> None:
    """Say what runs in INT8: everything, or if some layers stay float the others and what moves values."""
    typing = litert("ai_edge_quantizer.qtyping")
    none = litert("ai_edge_quantizer.quantizer").AlgorithmName.NO_QUANTIZE
    kinds = typing.TFLOperationName
    for name in ["ALL_SUPPORTED"] if every else [*EVERY_LAYER, *PASSING_OPS]:
        quantizer.add_static_config(".*", getattr(kinds, name), BITS, BITS)
    for operator, _, _ in layer_operators(graph):
        made = graph.name(operator.outputs[0])
        if layer_name(graph, operator).split("#")[0] not in {*chosen, "repeat"}:
            quantizer.update_quantization_recipe(f"^{re.escape(made)};", kinds.ALL_SUPPORTED, None, none)
    for port in ("INPUT", "OUTPUT"):
        if integer_ports:
            quantizer.add_static_config(".*", getattr(kinds, port), BITS, BITS)
        else:
            quantizer.update_quantization_recipe(".*", getattr(kinds, port), None, none)


def integer_clips(graph: Graph) -> None:
    """Let clips between DEQUANTIZE and QUANTIZE run on the integers themselves, in place."""
    for operator in [op for op in graph.operators if graph.kind(op) == CLIP]:
        before, after = graph.maker(operator.inputs[0]), graph.users(operator.outputs[0])
        kinds = [graph.kind(op) for op in ([before] if before else []) + after]
        if kinds == ["DEQUANTIZE", "QUANTIZE"]:
            operator.inputs, operator.outputs = list(before.inputs), list(after[0].outputs)
            gone = (after[0],) if len(graph.users(before.outputs[0])) else (before, after[0])
            graph.main.operators = [op for op in graph.operators if not any(op is g for g in gone)]
