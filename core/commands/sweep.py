"""Score every configuration of a grid on every image.

    python -m core sweep grid.yaml --out runs/sets

It runs on this machine's cores, or on a Dask cluster with --scheduler tcp://host:8786. A sweep that was
stopped or killed continues where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from core.commands.common import add_res_scale, warnings_as_sentences
from core.images.folders import load_folder
from core.sweep.cluster import connected
from core.sweep.grid import Grid
from core.sweep.grid_file import load_grid
from core.sweep.run import sweep_on


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core sweep", description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path, help="YAML file: field -> list of values, or a list of such grids")
    parser.add_argument("--out", type=Path, required=True, help="folder of the Parquet dataset")
    parser.add_argument("--scheduler", help="address of a Dask scheduler; by default this machine's cores")
    parser.add_argument("--workers", type=int, help="processes on this machine, by default one a core")
    parser.add_argument("--calibration", type=Path, help="folder of HR images to calibrate on")
    add_res_scale(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command `python -m core sweep`."""
    parser = _arguments()
    args = parser.parse_args(argv)
    try:
        grid, images = load_grid(args.grid)
        calibration = load_folder(args.calibration) if args.calibration else None
        with warnings_as_sentences(parser.prog):
            _run(args, grid, images, calibration)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\nStopped. What is done is in {args.out}; the same command goes on from there.\n")


@contextlib.contextmanager
def _interrupted_when_asked() -> Iterator[Callable[[], None]]:
    """Delay Ctrl-C in this context: the function it yields raises it; a second Ctrl-C is raised at once.

    Dask would not shut down properly if it were interrupted in the middle of a call.
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
            if bar.total is None:  # rows of earlier runs do not count for the rate and the time left
                bar.reset(total)
                bar.initial = bar.n = done
            bar.update(done - bar.n)

        cluster = connected(args.scheduler, args.workers)
        rows = sweep_on(cluster, grid, images, args.out, calibration, args.res_scale, progress)
    failed = rows[rows["error"] != ""]
    print(f"{len(rows):,} rows in {args.out}, {len(failed):,} of them with an error.")
    for reason, number in failed["reason"].value_counts().items():
        print(f"  {number:,} x {reason}")
