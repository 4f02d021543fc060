"""How long ONNX files take, with ONNX Runtime itself."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

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
