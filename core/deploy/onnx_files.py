"""ONNX files, also of other exporters: read them, and list what they do with each layer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core.ptq.audit import Audit, AuditRow
from core.ptq.config import FLOAT

if TYPE_CHECKING:  # onnx is imported where it is used, which keeps the import of core fast
    import onnx

LAYER_OPS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# Integer operators -> the index of the input that is the weight.
INTEGER_OPS = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3, "ConvInteger": 1, "MatMulInteger": 1}
# Operators that may stand between a stored tensor and the layer that multiplies by it.
WEIGHT_PATH = {"Transpose", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear"}
BITS = {"INT4": 4, "UINT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16}


Step = tuple[str, str]  # an operator, and how it runs: INT8, float, or conversion between the two
# Operators that only move, join or clip values.
PASSING_OPS = ["Relu", "Clip", "Concat", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze"]


class LayerNode(NamedTuple):
    """A node that multiplies by a stored weight, with that weight."""

    node: onnx.NodeProto
    weight: onnx.TensorProto


def read_graph(graph: onnx.ModelProto | str | Path) -> onnx.ModelProto:
    """Return the graph, reading it if it is a file's path.

    FileNotFoundError for a missing file, ValueError for one that is no ONNX file.
    """
    import onnx

    if not isinstance(graph, (str, Path)):
        return graph
    path = Path(graph)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; give the path of an ONNX file")
    try:
        proto = onnx.load(path)
    except Exception as error:  # protobuf's and onnx's errors have no common base class
        raise ValueError(
            f"{path.name} is no ONNX file that can be read ({first_line(error)}); export it again"
        ) from error
    if not proto.graph.output:
        raise ValueError(f"{path.name} holds no network; export it again")
    return proto


def float_output(graph: onnx.GraphProto, output: str) -> bool:
    """Return whether an output of the graph comes from a float operator, and so has no range of its own.

    An output that was quantized, and then at most moved or clipped, saturates at the ends of its integers.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    moving = {*PASSING_OPS, "DepthToSpace", "Identity", "Cast"} - {"Concat"}
    while (node := made_by.get(output)) is not None and node.op_type in moving:
        output = node.input[0]
    return node is None or not (node.op_type == "DequantizeLinear" or node.op_type in INTEGER_OPS)


def first_line(error: Exception) -> str:
    """Return the first line of a package's error message, shortened, without ONNX Runtime's error codes."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if line.startswith("[ONNXRuntimeError]"):
        line = line.split(" : ", 3)[-1]
    line = line.split("[Caused by")[0].split(" Please ")[0].strip(" .")
    return textwrap.shorten(line, 200, placeholder=" …")


def stored_tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Map each name to the stored tensor behind it, which may be transposed, cast or quantized on the way."""
    source = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            source[node.output[0]] = node.attribute[0].t
        elif node.op_type in WEIGHT_PATH and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
    return source


def layer_nodes(graph: onnx.GraphProto) -> Iterator[LayerNode]:
    """Yield the nodes that multiply by a stored weight, in order."""
    source = stored_tensors(graph)
    for node in graph.node:
        at = INTEGER_OPS.get(node.op_type, 1 if node.op_type in LAYER_OPS else None)
        if at is not None and node.input[at] in source:
            yield LayerNode(node, source[node.input[at]])


def audit_onnx(graph: onnx.ModelProto | str | Path) -> Audit:
    """List what the file does with every layer, read from its graph: INT8 or float. Prints as a table.

    A layer without a name has the name of its weight. Errors as for `OnnxNetwork`.
    """
    graph = read_graph(graph).graph
    made_by = {name: node for node in graph.node for name in node.output}
    source = stored_tensors(graph)
    rows = Audit()
    for node, weight in layer_nodes(graph):
        shape, name = tuple(weight.dims), node.name or weight.name
        if node.op_type in INTEGER_OPS:
            bits = [8, 8]
        else:
            bits = [_bits(made_by.get(value), source) for value in (node.input[1], node.input[0])]
        if bits[0] < FLOAT:
            constants = 2 * (bits[1] < FLOAT)  # scale and zero point
            rows.append(AuditRow(name, node.op_type, shape, f"INT{bits[0]}", *bits, None, constants, ""))
        else:  # float, even if its input is rounded for another layer
            rows.append(AuditRow(name, node.op_type, shape, "", FLOAT, FLOAT, None, 0, "float in the file"))
    return rows


def _bits(made: onnx.NodeProto | None, source: dict[str, onnx.TensorProto]) -> int:
    """Return the bits of a DequantizeLinear's output; 32 for any other node."""
    import onnx

    if made is None or made.op_type != "DequantizeLinear":
        return FLOAT
    # The type is that of the zero point, else that of the stored tensor, else uint8.
    tensor = source.get(made.input[2]) if len(made.input) > 2 else source.get(made.input[0])
    return BITS.get(onnx.TensorProto.DataType.Name(tensor.data_type), 8) if tensor is not None else 8


def end_of_onnx(graph: onnx.ModelProto | str | Path) -> list[Step]:
    """Return the operators of an ONNX file from its last convolution to its output, in order.

    QuantizeLinear and DequantizeLinear around an operator say that it runs on integers, and are no steps of
    their own, except where values really change between integers and floats. Errors as for `OnnxNetwork`.
    """
    graph = read_graph(graph).graph
    made_by = {name: node for node in graph.node for name in node.output}
    layers = {node.name for node, _ in layer_nodes(graph)}
    steps: list[Step] = []
    after, node = "", made_by.get(graph.output[0].name)
    while node is not None:
        kind, before = node.op_type, made_by.get(node.input[0])
        integer = after == "QuantizeLinear" and before is not None and before.op_type == "DequantizeLinear"
        if kind not in ("QuantizeLinear", "DequantizeLinear"):
            steps.append((kind, "INT8" if integer else "float"))
        elif not (steps and steps[-1][1] == "INT8") and kind == "DequantizeLinear":
            steps.append((kind, "conversion"))
        if node.name in layers:
            break
        after, node = kind, before
    return steps[::-1]
