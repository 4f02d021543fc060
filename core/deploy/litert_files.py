"""LiteRT files (.tflite): read and change their graph, and list what they do with each layer."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.deploy.onnx_files import Step, first_line
from core.ptq.audit import Audit, AuditRow
from core.ptq.config import FLOAT

# Operators that multiply by a stored weight -> the index of the input that they multiply; the weight is at 1.
LAYER_OPS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "TRANSPOSE_CONV": 2, "FULLY_CONNECTED": 0}
CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}
# The numbers of the file format's types.
DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 7: np.int16, 9: np.int8}
INTEGER_BITS = {3: 8, 7: 16, 9: 8}
PACKAGES = ("litert_torch", "ai_edge_quantizer", "ai_edge_litert")
CONV_REACHES = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}
POOLS = {"MAX_POOL_2D", "AVERAGE_POOL_2D"}


class MissingExtra(ImportError, ValueError):
    """The error where the packages of LiteRT are not installed; also a ValueError, as other refusals are."""


def is_installed(package: str) -> bool:
    """Whether one of PACKAGES can be imported."""
    return importlib.util.find_spec(package) is not None


def litert(module: str):
    """Import a module of LiteRT's packages; MissingExtra, one sentence, where they are not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"LiteRT is not installed ({first_line(error)}); install it by  pip install '.[litert]'"
        ) from error


def read_litert(file: bytes | str | Path) -> bytes:
    """Return the bytes of a LiteRT file; FileNotFoundError if there is none, ValueError if it is another."""
    title = "the LiteRT file"
    if isinstance(file, (str, Path)):
        path, title = Path(file), Path(file).name
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}; give the path of a LiteRT file")
        file = path.read_bytes()
    if bytes(file[4:8]) != b"TFL3":
        raise ValueError(f"{title} is no LiteRT file (.tflite); export it again")
    return bytes(file)


class Graph:
    """The graph of a LiteRT file, as objects that can be changed: operators, tensors, and their constants."""

    def __init__(self, content: bytes):
        self._tools = litert("ai_edge_litert.tools.flatbuffer_utils")
        self.schema = litert("ai_edge_litert.schema_py_generated")
        self.model = self._tools.read_model_from_bytearray(bytearray(content))
        if len(self.model.subgraphs) != 1:
            raise ValueError(f"the LiteRT file holds {len(self.model.subgraphs)} graphs, not one network")
        self.main = self.model.subgraphs[0]

    @property
    def operators(self) -> list:
        """The operators, in the order in which they run."""
        return self.main.operators

    def kind(self, operator) -> str:
        """Return the name of the operator, such as "CONV_2D"."""
        return self._tools.opcode_to_name(self.model, operator.opcodeIndex)

    def tensor(self, index: int):
        """Return a tensor's description."""
        return self.main.tensors[index]

    def name(self, index: int) -> str:
        """Return a tensor's name."""
        return self.tensor(index).name.decode()

    def shape(self, index: int) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return tuple(map(int, self.tensor(index).shape))

    def maker(self, index: int):
        """Return the operator that makes the tensor; None for inputs and constants."""
        return next((op for op in self.operators if index in list(op.outputs)), None)

    def users(self, index: int) -> list:
        """Return the operators that read the tensor."""
        return [op for op in self.operators if index in list(op.inputs)]

    def is_output(self, index: int) -> bool:
        """Whether the tensor is an output of the network."""
        return index in list(self.main.outputs)

    def constant(self, index: int) -> np.ndarray | None:
        """Return the stored values of a tensor; None if it is computed."""
        data = self.model.buffers[self.tensor(index).buffer].data
        if data is None or not len(data):
            return None
        return np.asarray(data, np.uint8).view(DTYPES[self.tensor(index).type]).reshape(self.shape(index))

    def store(self, index: int, values: np.ndarray) -> None:
        """Store other values in a constant, in a buffer of its own."""
        self.model.buffers.append(self.schema.BufferT())
        self.model.buffers[-1].data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.tensor(index).buffer = len(self.model.buffers) - 1

    def operator_like(self, kind: str, inputs: list[int], outputs: list[int], options=None):
        """Return a new operator of the kind; options: of the schema's class for it."""
        code = getattr(self.schema.BuiltinOperator, kind)
        known = [i for i, c in enumerate(self.model.operatorCodes) if c.builtinCode == code]
        if not known:
            new = self.schema.OperatorCodeT()
            new.builtinCode, new.deprecatedBuiltinCode, new.version = code, min(code, 127), 1
            self.model.operatorCodes.append(new)
            known = [len(self.model.operatorCodes) - 1]
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = known[0], inputs, outputs
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(
                self.schema.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
        return operator

    def redirect(self, old: int, new: int) -> None:
        """Let all readers of the tensor `old` read `new`."""
        for operator in self.operators:
            operator.inputs = [new if i == old else i for i in operator.inputs]

    def to_bytes(self) -> bytes:
        """Return the file, without tensors and constants that nothing uses."""
        self._drop_unused()
        return bytes(self._tools.convert_object_to_bytearray(self.model))

    def _drop_unused(self) -> None:
        main, model = self.main, self.model
        ends = [*main.inputs, *main.outputs]
        used = sorted(
            {int(i) for i in ends}.union(*({*op.inputs, *op.outputs} for op in self.operators)) - {-1}
        )
        at = {old: new for new, old in enumerate(used)} | {-1: -1}
        main.tensors = [main.tensors[i] for i in used]
        for operator in self.operators:
            operator.inputs = [at[i] for i in operator.inputs]
            operator.outputs = [at[i] for i in operator.outputs]
        main.inputs, main.outputs = [at[i] for i in main.inputs], [at[i] for i in main.outputs]
        for signature in model.signatureDefs or []:
            for port in (*signature.inputs, *signature.outputs):
                port.tensorIndex = at[port.tensorIndex]
        model.metadata, model.metadataBuffer = [], None
        buffers = sorted({0, *(tensor.buffer for tensor in main.tensors)})
        where = {old: new for new, old in enumerate(buffers)}
        for tensor in main.tensors:
            tensor.buffer = where[tensor.buffer]
        model.buffers = [model.buffers[i] for i in buffers]


def layer_operators(graph: Graph) -> Iterator[tuple[object, int, int]]:
    """Yield each operator that multiplies by a stored weight, with the indices of its input and weight."""
    for operator in graph.operators:
        at = LAYER_OPS.get(graph.kind(operator))
        if at is not None and graph.constant(operator.inputs[1]) is not None:
            yield operator, operator.inputs[at], operator.inputs[1]


def layer_name(graph: Graph, operator) -> str:
    """Return the layer's name, by its weight: the tensor that it makes may be called "sr"."""
    return graph.name(operator.inputs[1]).removesuffix(".weight")


@dataclasses.dataclass
class LitertAudit(Audit):
    """The rows of `audit_litert`, and what the rest of the graph does.

    integer, float: how often each operator runs on integers and on floats. conversions: the operators that
    convert values between them, in order, each with the name of the tensor that it makes.
    """

    integer: Counter
    float: Counter
    conversions: list[tuple[str, str]]

    def __init__(self, rows=()):
        super().__init__(rows)
        self.integer, self.float, self.conversions = Counter(), Counter(), []

    def __str__(self) -> str:
        counted = (
            f"{words}: {', '.join(f'{n} {kind}' for kind, n in sorted(found.items())) or 'nothing'}"
            for words, found in (("on integers", self.integer), ("in float", self.float))
        )
        made = ", ".join(f"{kind} to {name}" for kind, name in self.conversions) or "none"
        return "\n".join((super().__str__(), *counted, f"conversions: {made}"))


def audit_litert(file: bytes | str | Path) -> LitertAudit:
    """List what a LiteRT file does with every layer, read from its graph, and where it converts values.

    Prints as a table. A layer is called as its weight. Errors as for `LitertNetwork`.
    """
    graph = Graph(read_litert(file))
    audit = LitertAudit()
    for operator, value, weight in layer_operators(graph):
        kind, name, shape = graph.kind(operator), layer_name(graph, operator), graph.shape(weight)
        bits = [INTEGER_BITS.get(graph.tensor(i).type, FLOAT) for i in (weight, value)]
        if max(bits) < FLOAT:
            audit.append(AuditRow(name, kind, shape, f"INT{bits[0]}", *bits, None, 2, ""))
        else:
            audit.append(AuditRow(name, kind, shape, "", FLOAT, FLOAT, None, 0, "float in the file"))
    for operator in graph.operators:
        kind, made = graph.kind(operator), operator.outputs[0]
        if kind in CONVERSIONS:
            audit.conversions.append((kind, graph.name(made)))
        else:
            integer = graph.tensor(made).type in INTEGER_BITS
            (audit.integer if integer else audit.float)[kind] += 1
    return audit


def end_of_litert(file: bytes | str | Path) -> list[Step]:
    """Return the operators of a LiteRT file from its last layer to its output, in order; as `end_of_onnx`."""
    graph = Graph(read_litert(file))
    steps: list[Step] = []
    operator = graph.maker(graph.main.outputs[0])
    while operator is not None:
        kind, integer = graph.kind(operator), graph.tensor(operator.outputs[0]).type in INTEGER_BITS
        steps.append((kind, "conversion" if kind in CONVERSIONS else "INT8" if integer else "float"))
        operator = None if kind in LAYER_OPS else graph.maker(operator.inputs[0])
    return steps[::-1]


def reach(graph: Graph) -> tuple[int, int]:
    """Return how far an output pixel looks at most, and the step of the network's grid, both in LR pixels."""
    radius, step = 0, 1
    for operator in graph.operators:
        kind, options, stride = graph.kind(operator), operator.builtinOptions, 1
        if kind == "SPACE_TO_DEPTH":
            stride = options.blockSize
        elif kind in CONV_REACHES or kind in POOLS:
            sides = graph.shape(operator.inputs[1])[1:3] if kind in CONV_REACHES else (
                options.filterHeight, options.filterWidth
            )  # fmt: skip
            radius += step * max(getattr(options, "dilationHFactor", 1), 1) * (max(sides) // 2)
            if kind != "TRANSPOSE_CONV":
                stride = max(options.strideH, options.strideW)
        radius += step * (stride - 1)
        step *= stride
    return radius, step
