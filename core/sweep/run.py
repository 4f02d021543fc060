"""Run a sweep: every configuration of a grid on every image, one row each.

A sweep that was stopped or killed continues where it was when it is started again.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from distributed import Client

from core.checkpoints.loading import check_res_scale
from core.images import Pair, demo_image, demo_names, make_lr, modcrop
from core.ptq.calibration import PATCHES, calibration_patches, patch_size
from core.sweep.cluster import connected
from core.sweep.grid import Grid, Networks, check_number, expand
from core.sweep.schedule import Inputs, Wanted, computed, wanted_rows
from core.sweep.store import Store, read_sweep

FLUSH = 1.0  # seconds that finished rows may stay unwritten
Progress = Callable[[int, int], None]  # called with the number of rows written, and of all rows


def sweep(
    grid: Grid,
    images: Mapping[str, torch.Tensor],
    client: Client | None = None,
    *,
    out: str | Path | None = None,
    calibration: Sequence[torch.Tensor] | None = None,
    res_scale: float | None = None,
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Score every configuration of the grid on every image; one row each, `core.sweep.store.SCHEMA`.

    grid: field -> values as in `core.sweep.grid.expand`. images: name -> HR image (1, 3, H, W) in [0, 1]; its
    LR is made by bicubic reduction. client: of a Dask cluster; by default of this machine's cores, and then
    the calling script needs `if __name__ == "__main__":`. out: a folder that keeps the rows; rows that it has
    are not computed again. calibration: HR images for the LR patches of calibration, by default the packaged
    photographs. res_scale: of the checkpoints, as `load_checkpoint`. `progress(done, total)` is called
    several times a second and may raise to cancel. ValueError for an invalid grid; an invalid configuration
    becomes a row with its reason.
    """
    cluster = connected() if client is None else contextlib.nullcontext(client)
    return sweep_on(cluster, grid, images, out, calibration, res_scale, progress)


def sweep_on(
    cluster: contextlib.AbstractContextManager[Client],
    grid: Grid,
    images: Mapping[str, torch.Tensor],
    out: str | Path | None,
    calibration: Sequence[torch.Tensor] | None,
    res_scale: float | None,
    progress: Progress,
) -> pd.DataFrame:
    """Run the sweep on `cluster`, a context that is entered only if there is something to compute.

    Arguments as for `sweep`.
    """
    inputs, rows = prepared(grid, images, calibration, res_scale)
    with contextlib.ExitStack() as stack:
        folder = out or stack.enter_context(tempfile.TemporaryDirectory())
        with Store(folder) as store:
            said = {} if res_scale is None else {"res_scale": res_scale}
            store.describe({"grid": grid, "images": list(images), "rows": len(rows)} | said)
            _fill(store, rows, inputs, cluster, progress)
        kept = read_sweep(folder)
    return kept[kept["key"].isin([row.key for row in rows])].reset_index(drop=True)


def prepared(
    grid: Grid,
    images: Mapping[str, torch.Tensor],
    calibration: Sequence[torch.Tensor] | None = None,
    res_scale: float | None = None,
) -> tuple[Inputs, list[Wanted]]:
    """Return the inputs and all rows of the grid without computing them; arguments as for `sweep`."""
    networks = Networks(res_scale)
    choices = expand(grid, networks)
    check_res_scale(res_scale, [choice.network for choice in choices])
    if not images:
        raise ValueError("a sweep needs at least one image, got none")
    check_number(sum(len(images if names is None else names) for names in choices.values()))
    source = "the packaged photographs" if calibration is None else "the images given"
    if calibration is None:
        calibration = [demo_image(name) for name in demo_names()]
    pairs, patches = {}, {}
    for scale in {choice.scale for choice in choices}:
        whole = {name: modcrop(hr, scale) for name, hr in images.items()}
        pairs[scale] = {name: Pair(name, make_lr(hr, scale), hr) for name, hr in whole.items()}
        lr = [make_lr(hr, scale) for hr in calibration]
        patches[scale] = calibration_patches(lr, PATCHES, patch_size(scale))
    inputs = Inputs(networks, pairs, patches, f"random LR patches of {source}, seed 0")
    return inputs, wanted_rows(choices, inputs)


def _fill(store: Store, rows: list[Wanted], inputs: Inputs, cluster, progress: Progress) -> None:
    """Compute the rows that the store does not have and add them."""
    left = [row for row in rows if row.key not in store.keys]
    kept, flushed = len(rows) - len(left), time.monotonic()

    def look() -> None:
        nonlocal kept, flushed
        if time.monotonic() - flushed > FLUSH:
            store.flush()
            kept, flushed = sum(row.key in store.keys for row in rows), time.monotonic()
        progress(kept, len(rows))

    look()
    if left:
        with cluster as client:
            for new in computed(client, left, inputs, look):
                store.add(new)
    store.flush()
    progress(len(rows), len(rows))
