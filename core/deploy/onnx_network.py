"""An ONNX file as a network: one image in, one image out, whatever its input is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from core.deploy.onnx_files import first_line, float_output, read_graph, stored_tensors
from core.networks.fixed_size import by_fixed_tiles

if TYPE_CHECKING:
    import onnx

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
# Operator -> the index of the input that is the weight.
CONVOLUTIONS = {"Conv": 1, "ConvTranspose": 1, "QLinearConv": 3, "ConvInteger": 1}
POOLS = {"MaxPool", "AveragePool", "LpPool"}


class Ports(NamedTuple):
    """The input and output of a file: names, the input's dtype, and the fixed sizes of (N, C, H, W)."""

    input: str
    output: str
    dtype: type
    batch: int | None
    channels: int | None
    size: tuple[int | None, int | None]


class Refusal(ValueError, RuntimeError):
    """The error for images that a file does not run on; also a RuntimeError, as torch's modules raise."""


class OnnxNetwork(nn.Module):
    """An ONNX graph run by ONNX Runtime on the CPU: (N, 3, H, W) -> (N, 3, scale*H, scale*W), float32.

    graph: a ModelProto, or the path of a file; of several outputs, the only one with the input's number of
    channels is taken. A graph of a fixed size runs larger images by overlapping tiles and pads smaller ones
    with their edge pixels; a graph of a single channel is for luma / 255. profile: how the name of the file
    begins that ONNX Runtime's profiler writes; no file by default. `float_output`: whether the output
    comes from a float operator, and so does not saturate at the ends of integers. FileNotFoundError for a
    missing file; ValueError for a damaged one, one with other inputs or outputs, and images that it does not
    run on. It can be used like any network: `evaluate`, `super_resolve`.
    """

    def __init__(self, graph: onnx.ModelProto | str | Path, threads: int = 1, profile: str = ""):
        super().__init__()
        self.title = Path(graph).name if isinstance(graph, (str, Path)) else "the ONNX graph"
        graph = read_graph(graph)
        self.session = _session(graph, threads, self.title, profile)
        self.ports = _ports(self.session, self.title)
        self._reach = _reach(graph.graph)
        self.float_output = float_output(graph.graph, self.ports.output)
        if self.ports.channels is not None:
            self.image_channels = self.ports.channels

    @property
    def receptive_radius(self) -> int:
        """How far, in LR pixels, an output pixel looks; an upper bound as `core.receptive_radius`.

        ValueError if the sizes of the file's convolutions are unknown.
        """
        if self._reach is None:
            raise ValueError(
                f"{self.title} does not say how large its convolutions are; run images whole, not by tiles"
            )
        return self._reach[0]

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        """Return the SR images (N, 3, scale*H, scale*W) of LR images (N, 3, H, W)."""
        if self.ports.size == (None, None):
            return self._run(lr)
        radius, step = (self.receptive_radius, self._reach[1]) if self._reach else (None, 1)
        return by_fixed_tiles(self._run, lr, self.ports.size, radius, step, self.title)

    def _run(self, lr: torch.Tensor) -> torch.Tensor:
        ports = self.ports
        images = lr.numpy(force=True).astype(ports.dtype)
        if ports.batch is None:
            return self._call(images)
        parts = [images[i : i + ports.batch] for i in range(0, len(images), ports.batch)]
        lacking = ports.batch - len(parts[-1])
        parts[-1] = np.concatenate([parts[-1], *[parts[-1][-1:]] * lacking])
        return torch.cat([self._call(part) for part in parts])[: len(images)]

    def _call(self, images: np.ndarray) -> torch.Tensor:
        try:
            made = self.session.run([self.ports.output], {self.ports.input: images})[0]
        except Exception as error:  # onnxruntime's errors have no common base class
            size = "x".join(map(str, images.shape))
            raise Refusal(f"{self.title} does not run on {size}: {first_line(error)}") from error
        return torch.from_numpy(made).float()


def _session(graph: onnx.ModelProto, threads: int, title: str, profile: str):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # fatal alone: errors are raised anyway
    try:
        return onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common base class
        raise ValueError(f"ONNX Runtime cannot run {title}: {first_line(error)}") from error


def _ports(session, title: str) -> Ports:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise ValueError(
            f"{title} takes {len(inputs)} inputs ({_named(inputs)}); a network here takes one image alone"
        )
    if len(outputs) > 1:
        shape = list(inputs[0].shape or ())
        outputs = [port for port in outputs if list(port.shape or ())[1:2] == shape[1:2]]
    if len(outputs) != 1:
        raise ValueError(
            f"{title} gives {len(session.get_outputs())} outputs ({_named(session.get_outputs())}), not "
            "exactly one of them with its input's channels; export it with its image alone"
        )
    taken = inputs[0]
    shape = list(taken.shape or ())
    batch, channels, *size = (n if isinstance(n, int) else None for n in shape) if len(shape) == 4 else (0, 0)
    channels_last = channels is None and shape[-1] in (1, 3)
    if channels not in (1, 3, None) or channels_last or taken.type not in DTYPES:
        raise ValueError(
            f"{title} takes {_named(inputs)}; images here are floating point (N, 3, H, W) in [0, 1]"
        )
    return Ports(taken.name, outputs[0].name, DTYPES[taken.type], batch, channels, tuple(size))


def _named(ports: Sequence) -> str:
    return ", ".join(
        f"{port.name}: {port.type.removeprefix('tensor(').removesuffix(')')} "
        f"({', '.join(map(str, port.shape or ()))})"
        for port in ports
    )


def _reach(graph: onnx.GraphProto) -> tuple[int, int] | None:
    """Return how far an output pixel looks at most, and the step of the network's grid, both in LR pixels.

    None if the size of a convolution is unknown.
    """
    source = stored_tensors(graph)
    radius, step = 0, 1
    for node in graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        stride = 1
        if node.op_type == "SpaceToDepth":
            stride = given["blocksize"].i
        elif node.op_type in CONVOLUTIONS or node.op_type in POOLS:
            side = _side(node, given, source)
            if side is None:
                return None
            radius += step * (max(given["dilations"].ints) if "dilations" in given else 1) * (side // 2)
            if "strides" in given and node.op_type != "ConvTranspose":
                stride = max(given["strides"].ints)
        radius += step * (stride - 1)  # the last pixel of a cell depends on its first one too
        step *= stride
    return radius, step


def _side(node: onnx.NodeProto, given: dict, source: dict) -> int | None:
    """Return the longer side of a kernel in pixels; None if it is unknown."""
    if "kernel_shape" in given:
        return max(given["kernel_shape"].ints)
    weight = source.get(node.input[CONVOLUTIONS[node.op_type]])
    return None if weight is None else max(weight.dims[2:])
