"""What if, in bulk: every configuration of a grid on every image, a row each.

    python -m core.sweep grid.yaml --out runs/sets

on this machine's cores, or on a Dask cluster with --scheduler tcp://host:8786. A sweep that was stopped, or
killed, goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from distributed import Client
from tqdm import tqdm

from core.calibration import PATCHES, calibration_patches, patch_size
from core.cluster import connected
from core.grid_file import read_yaml
from core.image_folders import image_files
from core.images import Pair, demo_image, demo_names, make_lr, modcrop
from core.sweep_grid import Grid, Networks, check_number, expand
from core.sweep_run import Inputs, Wanted, computed, wanted_rows
from core.sweep_store import Store, read_sweep
from core.training import load_folder

FLUSH = 1.0  # seconds that finished rows may stay unwritten
Progress = Callable[[int, int], None]  # rows that are done and kept, and rows in all


def sweep(
    grid: Grid,
    images: Mapping[str, torch.Tensor],
    client: Client | None = None,
    *,
    out: str | Path | None = None,
    calibration: Sequence[torch.Tensor] | None = None,
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Score every configuration of the grid on every image; one row each, `core.sweep_store.SCHEMA`.

    grid: field -> values as in `core.sweep_grid.expand`. images: name -> HR image (1, 3, H, W) in [0, 1]; its
    LR is made by bicubic reduction. client: of a Dask cluster; by default of this machine's cores, and then
    a script that calls this needs `if __name__ == "__main__":`. out: a folder that keeps the rows; what it
    has is not computed again. calibration: HR images whose LR patches calibrate, by default the packaged
    photographs. `progress(done, total)` is called several times a second and may raise to cancel.
    ValueError for a grid that cannot be; a configuration that cannot be is a row with its reason.
    """
    cluster = connected() if client is None else contextlib.nullcontext(client)
    return _sweep_on(cluster, grid, images, out, calibration, progress)


def _sweep_on(
    cluster: contextlib.AbstractContextManager[Client],
    grid: Grid,
    images: Mapping[str, torch.Tensor],
    out: str | Path | None,
    calibration: Sequence[torch.Tensor] | None,
    progress: Progress,
) -> pd.DataFrame:
    """The cluster is entered only if there is something to compute."""
    inputs, rows = prepared(grid, images, calibration)
    with contextlib.ExitStack() as stack:
        folder = out or stack.enter_context(tempfile.TemporaryDirectory())
        with Store(folder) as store:
            store.describe({"grid": grid, "images": list(images), "rows": len(rows)})
            _fill(store, rows, inputs, cluster, progress)
        kept = read_sweep(folder)
    return kept[kept["key"].isin([row.key for row in rows])].reset_index(drop=True)


def prepared(
    grid: Grid, images: Mapping[str, torch.Tensor], calibration: Sequence[torch.Tensor] | None = None
) -> tuple[Inputs, list[Wanted]]:
    """All that the grid asks for, with nothing computed; arguments as for `sweep`."""
    networks = Networks()
    choices = expand(grid, networks)
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
    """Compute and keep what the store does not have."""
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


def load_grid(path: Path) -> tuple[Grid, dict[str, torch.Tensor]]:
    """A YAML file as `sweep` takes it: the grid, and the images that it names.

    images: packaged photographs by name, and folders of HR images; without them, the packaged photographs.
    """
    grid = read_yaml(path)
    found: dict[str, torch.Tensor] = {}
    parts = grid if isinstance(grid, list) else [grid]
    for i, part in enumerate(parts):
        if isinstance(part, dict) and isinstance(part.get("images", ()), list | tuple):
            own = named_images(part.get("images", demo_names()))
            parts[i] = part | {"images": list(own)}
            for name in own.keys() & found.keys():  # of a folder that two grids name, or of two folders
                if not torch.equal(own[name], found[name]):
                    raise ValueError(f"two images are named {name}; rename one")
            found |= own
    return parts, found


def named_images(entries: Sequence[str]) -> dict[str, torch.Tensor]:
    """Name -> HR image, of packaged photographs and of folders (by the files' names)."""
    found: dict[str, torch.Tensor] = {}
    for entry in map(str, entries):
        own = {entry: demo_image(entry)} if entry in demo_names() else _folder(Path(entry).expanduser())
        twice = ", ".join(own.keys() & found.keys())
        if twice:
            raise ValueError(f"two images are named {twice}; rename one")
        found |= own
    return found


def _folder(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_dir():
        raise ValueError(f"{path} is neither a folder nor one of the photographs {', '.join(demo_names())}")
    names = [file.stem for file in image_files(path)]
    twice = ", ".join(name for name, number in Counter(names).items() if number > 1)
    if twice:
        raise ValueError(f"{path} holds two images named {twice}; rename one")
    return dict(zip(names, load_folder(path), strict=True))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path, help="YAML file: field -> list of values, or a list of such grids")
    parser.add_argument("--out", type=Path, required=True, help="folder of the Parquet dataset")
    parser.add_argument("--scheduler", help="address of a Dask scheduler; by default this machine's cores")
    parser.add_argument("--workers", type=int, help="processes on this machine, by default one a core")
    parser.add_argument("--calibration", type=Path, help="folder of HR images to calibrate on")
    return parser


def main() -> None:
    parser = _arguments()
    args = parser.parse_args()
    try:
        grid, images = load_grid(args.grid)
        calibration = load_folder(args.calibration) if args.calibration else None
        _run(args, grid, images, calibration)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\nStopped. What is done is in {args.out}; the same command goes on from there.\n")


@contextlib.contextmanager
def _interrupted_when_asked() -> Iterator[Callable[[], None]]:
    """Ctrl-C is raised by the function this gives; in the middle of a call, Dask would not end in order.

    A second Ctrl-C is raised at once.
    """
    came = False

    def note(*_) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    def ask() -> None:
        if came:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield ask
    finally:
        signal.signal(signal.SIGINT, before)


def _run(args, grid: Grid, images: Mapping[str, torch.Tensor], calibration) -> None:
    with _interrupted_when_asked() as ask, tqdm(unit="row", smoothing=0.05) as bar:

        def progress(done: int, total: int) -> None:
            ask()
            if bar.total is None:  # the rate, and so the time left, is that of this run
                bar.reset(total)
                bar.initial = bar.n = done
            bar.update(done - bar.n)

        cluster = connected(args.scheduler, args.workers)
        rows = _sweep_on(cluster, grid, images, args.out, calibration, progress)
    failed = rows[rows["error"] != ""]
    print(f"{len(rows):,} rows in {args.out}, {len(failed):,} of them with an error.")
    for reason, number in failed["reason"].value_counts().items():
        print(f"  {number:,} x {reason}")


if __name__ == "__main__":
    main()
