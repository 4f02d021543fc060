"""Time files of both engines, ONNX Runtime and LiteRT, in turns, and the layers of an ONNX file."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from core.deploy.litert_network import LitertNetwork
from core.deploy.onnx_files import layer_nodes, read_graph
from core.deploy.onnx_network import OnnxNetwork
from core.images import check_images
from core.utils.progress import Progress

if TYPE_CHECKING:
    import onnx

# What ONNX Runtime's optimizer may join to the convolution before it; the result has the joined node's name.
JOINED = {"Relu", "LeakyRelu", "PRelu", "Clip", "Add", "Mul", "BatchNormalization", "Sigmoid", "HardSigmoid"}
# What the optimizer appends to names, and the profiler to events.
SUFFIX = re.compile(r"(_token_\d+)?(_nchwc)?_kernel_time$")


def time_onnx(
    graphs: dict[str, onnx.ModelProto | str | Path],
    lr: torch.Tensor,
    threads: int = 1,
    runs: int = 41,
    progress: Progress = lambda what, share: None,
) -> dict[str, float]:
    """Return the median time in milliseconds of one forward of each graph on `lr` (N, 3, H, W).

    threads: of ONNX Runtime. The graphs take turns, as `time_in_turns` has it. ValueError for fewer than one
    run or thread. `progress(what, share)` may raise to cancel.
    """
    _check(lr, threads, runs)
    return time_in_turns({n: OnnxNetwork(graph, threads) for n, graph in graphs.items()}, lr, runs, progress)


def time_layers(
    graph: onnx.ModelProto | str | Path, lr: torch.Tensor, threads: int = 1, runs: int = 9
) -> dict[str, float]:
    """Return the median time in milliseconds of each layer of an ONNX file on `lr` (N, 3, H, W).

    By ONNX Runtime's own profiler, after its optimizer: with a convolution count what it joined to it, not
    what moves or converts values between layers. Layers have the names that `audit_onnx` lists. ValueError
    for fewer than one run or thread. (LiteRT's package for Python has no profiler.)
    """
    _check(lr, threads, runs)
    proto = read_graph(graph)
    owners = _owners(proto.graph)
    with tempfile.TemporaryDirectory() as folder:
        network = OnnxNetwork(proto, threads, f"{folder}/profile")
        for _ in range(runs + 1):
            network(lr)
        events = json.loads(Path(network.session.end_profiling()).read_text())
    taken: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        name, timed = SUFFIX.subn("", event["name"])
        if timed and name in owners:
            taken[owners[name], event["name"]].append(event["dur"])
    layers: dict[str, float] = defaultdict(float)
    for (layer, _), microseconds in taken.items():
        layers[layer] += statistics.median(microseconds[1:]) / 1000  # the first run allocates memory
    return {layer: layers[layer] for layer in dict.fromkeys(owners.values()) if layer in layers}


def _owners(graph: onnx.GraphProto) -> dict[str, str]:
    """Map the names of a graph's layers, and of what is made from them at once, to the layers."""
    layers = {node.name for node, _ in layer_nodes(graph)}
    found = {name: name for name in layers}
    for node in graph.node:
        owners = [found[name] for name in node.input if name in found] if node.op_type in JOINED else []
        owners += [node.name] if node.name in layers else []
        if owners:
            found.update(dict.fromkeys(node.output, owners[-1]))
    return found


def time_litert(
    files: dict[str, bytes | str | Path],
    lr: torch.Tensor,
    threads: int = 1,
    runs: int = 41,
    progress: Progress = lambda what, share: None,
) -> dict[str, float]:
    """Return the median time in milliseconds of one forward of each LiteRT file; arguments as `time_onnx`.

    ValueError also for images of another size than a file's, which would run in parts.
    """
    _check(lr, threads, runs)
    networks = {name: LitertNetwork(file, threads) for name, file in files.items()}
    for name, network in networks.items():
        if network.size != tuple(lr.shape[-2:]):
            taken, got = ("x".join(map(str, size)) for size in (network.size, lr.shape[-2:]))
            raise ValueError(f"{name} is a file for {taken} pixels, got {got}; give an image of its size")
    return time_in_turns(networks, lr, runs, progress)


def time_in_turns(
    networks: Mapping[str, nn.Module],
    lr: torch.Tensor,
    runs: int = 41,
    progress: Progress = lambda what, share: None,
    clock: Callable[[], float] | None = None,
) -> dict[str, float]:
    """Return the median time in milliseconds of one forward of each network on `lr` (N, 3, H, W).

    The networks, of any engine, take turns in a new random order every round, so that other load on the
    machine affects all alike. The first run of each, which allocates memory, does not count. clock: in
    seconds, that of the wall by default; `time.thread_time` gives the processor's time of networks that run
    in one thread, which other work hardly changes. ValueError for fewer than one run. `progress(what,
    share)` may raise to cancel.
    """
    _check(lr, 1, runs)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    order, clock = np.random.default_rng(0), clock or time.perf_counter
    for run in range(runs + 1):
        for name in order.permutation(list(networks)):
            start = clock()
            networks[name](lr)
            seconds[name].append(clock() - start)
        progress("Timing", run / runs)
    return {name: 1000 * statistics.median(taken[1:]) for name, taken in seconds.items()}


def _check(lr: torch.Tensor, threads: int, runs: int) -> None:
    check_images(lr, "lr")
    if runs < 1 or threads < 1:
        raise ValueError(f"runs and threads must be at least 1, got {runs} and {threads}")
