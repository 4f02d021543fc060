"""Run compiled loops over rows on every core, or on OMP_NUM_THREADS of them.

The loops release the GIL, so plain threads do. Numba's own parallel loops abort the process when two
threads start one at once, as two sessions of the dashboard would.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# What bounds torch's threads bounds these too: the workers of a sweep share the cores.
WORKERS = min(CORES, int((os.environ.get("OMP_NUM_THREADS") or str(CORES)).split(",")[0]))
_pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="core-rows")


def over_rows(kernel: Callable[..., None], n_rows: int, *args: object) -> None:
    """Call `kernel(start, stop, *args)` on disjoint ranges that cover `range(n_rows)`."""
    chunk = -(-n_rows // WORKERS)
    ranges = [(start, min(start + chunk, n_rows)) for start in range(0, n_rows, chunk)]
    if len(ranges) == 1:
        kernel(*ranges[0], *args)
        return
    for future in [_pool.submit(kernel, *r, *args) for r in ranges]:
        future.result()
