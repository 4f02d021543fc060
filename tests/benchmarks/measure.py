"""What the benchmarks share: the shortest time of a call, and activations to choose points for."""

import time

import numpy as np


def seconds(call, repeats=5):
    """Shortest time of a call, the first one apart: what other programs take is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def activations(n_channels: int, n_values: int) -> np.ndarray:
    """Normalized activations of one layer: Laplacian channels of different widths, in [-1, 1]."""
    rng = np.random.default_rng(0)
    x = rng.laplace(size=(n_channels, n_values)) * rng.uniform(0.5, 2, (n_channels, 1))
    return (x / np.abs(x).max(1, keepdims=True)).astype(np.float32)
