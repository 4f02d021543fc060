"""A LiteRT file as a network: one image in, one image out, as a phone's engine computes it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.deploy.litert_files import Graph, litert, reach, read_litert
from core.deploy.onnx_files import first_line
from core.deploy.onnx_network import Refusal
from core.networks.fixed_size import by_fixed_tiles


class LitertNetwork(nn.Module):
    """A LiteRT file run on the CPU: (N, 3, H, W) -> (N, 3, scale*H, scale*W), float32.

    file: a path or the bytes, with NHWC input and output of one fixed size, as `export_litert` makes them.
    Images of another size run as with `OnnxNetwork`: larger ones by overlapping tiles, smaller ones padded.
    INT8 inputs and outputs are converted by the scales in the file. MissingExtra where LiteRT is not
    installed; FileNotFoundError for a missing file; ValueError for a damaged one, and for one with other
    inputs or outputs. It can be used like any network: `evaluate`, `super_resolve`.
    """

    def __init__(self, file: bytes | str | Path, threads: int = 1):
        super().__init__()
        self.title = Path(file).name if isinstance(file, (str, Path)) else "the LiteRT file"
        self.content = read_litert(file)
        self._interpreter = _interpreter(self.content, threads, self.title)
        self._input, self._output = _ports(self._interpreter, self.title)
        self.image_channels = int(self._input["shape"][3])
        self.size = tuple(map(int, self._input["shape"][1:3]))
        self._reach = reach(Graph(self.content))
        self._one_at_a_time = threading.Lock()

    @property
    def receptive_radius(self) -> int:
        """How far, in LR pixels, an output pixel looks; an upper bound as `core.receptive_radius`."""
        return self._reach[0]

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        """Return the SR images (N, 3, scale*H, scale*W) of LR images (N, 3, H, W)."""
        return by_fixed_tiles(self._run, lr, self.size, *self._reach, self.title)

    def _run(self, lr: torch.Tensor) -> torch.Tensor:
        if lr.shape[1] != self.image_channels:
            raise Refusal(f"{self.title} takes {self.image_channels} channels, got {lr.shape[1]}")
        images = lr.float().permute(0, 2, 3, 1).contiguous().numpy(force=True)
        with self._one_at_a_time:  # an interpreter keeps the values of one run
            made = np.concatenate([self._call(image[None]) for image in images])
        return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()

    def _call(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input["index"], _stored(image, self._input))
        self._interpreter.invoke()
        return _read(self._interpreter.get_tensor(self._output["index"]), self._output)


def _interpreter(content: bytes, threads: int, title: str):
    engine = litert("ai_edge_litert.interpreter")
    try:
        interpreter = engine.Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"LiteRT cannot run {title}: {first_line(error)}") from error
    return interpreter


def _ports(interpreter, title: str) -> tuple[dict, dict]:
    """Return the input's and the output's description; ValueError if they are no single NHWC images."""
    ports = (*interpreter.get_input_details(), *interpreter.get_output_details())
    shapes = [tuple(map(int, port["shape"])) for port in ports]
    if len(ports) != 2 or any(len(s) != 4 or s[0] != 1 or s[3] not in (1, 3) for s in shapes):
        found = " ".join(map(str, shapes))
        raise ValueError(
            f"{title} must take and give one image (1, H, W, 3), but has {found}; export it again"
        )
    return ports


def _stored(values: np.ndarray, port: dict) -> np.ndarray:
    """Return float values as the port takes them."""
    if not np.issubdtype(port["dtype"], np.integer):
        return values.astype(port["dtype"])
    scale, zero_point = port["quantization"]
    ends = np.iinfo(port["dtype"])
    return np.clip(np.round(values / scale) + zero_point, ends.min, ends.max).astype(port["dtype"])


def _read(values: np.ndarray, port: dict) -> np.ndarray:
    """Return the port's values as float32, in memory of their own."""
    if not np.issubdtype(port["dtype"], np.integer):
        return values.astype(np.float32)
    scale, zero_point = port["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
