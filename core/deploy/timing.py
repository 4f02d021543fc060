"""Time files of both engines, ONNX Runtime and LiteRT, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from core.deploy.litert_network import LitertNetwork
from core.deploy.onnx_network import OnnxNetwork
from core.images import check_images
from core.utils.progress import Progress

if TYPE_CHECKING:
    import onnx


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
