"""Trainings and sweeps of a visitor's own files: what a process of its own needs is handed to it in a folder.

Their rule, on one's own machine and on a shared server alike: such a run belongs to the page that started it.
Its files and rows lie in a temporary folder, nobody else can see them, and all is deleted with the page.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

import core
from core.qat.config import OdmConfig
from explorer.choices.catalog import NETWORKS, pixels, scale_of, without_truth
from explorer.choices.sweep_grid import SweepChoices
from explorer.choices.visitor_files import file_name, is_uploaded, uploaded
from explorer.jobs import sweep_runs
from explorer.jobs.training_run import Run as TrainingRun


def write_network(key: str, folder: Path) -> Path:
    """Write an uploaded network to the folder as a checkpoint that `core.load_checkpoint` reads alike.

    ValueError for one that it cannot read, such as an architecture that only this process knows.
    """
    network, name = uploaded(key), file_name(key)
    model = network.model
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_plain(name)}.safetensors"
    save_file({k: value.contiguous().clone() for k, value in model.state_dict().items()}, path)
    lr = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            again = core.load_checkpoint(path)
        same = torch.allclose(core.super_resolve(again, lr), core.super_resolve(model, lr), atol=1e-5)
    except ValueError:
        same = False
    if not (same and network.default_scope):
        path.unlink()
        raise ValueError(
            f"{name} cannot be handed to a process of its own, since only this page knows its architecture; "
            "use core.sweep, or core.QuantizedTraining, in Python"
        )
    return path


def write_image(key: str, folder: Path) -> Path:
    """Write an uploaded HR image to the folder; ValueError for an LR, which cannot be scored."""
    if without_truth(key):
        raise ValueError(f"{file_name(key)} is an LR without ground truth; a sweep scores HR images")
    folder.mkdir(parents=True)
    path = folder / f"{folder.name}_{_plain(file_name(key))}.png"  # names of images must differ
    Image.fromarray(pixels(key)).save(path)
    return path


def _plain(name: str) -> str:
    """Return a file's name without its ending, in letters that every file system and grid takes."""
    return re.sub(r"\W+", "_", Path(name).stem)[:60].strip("_") or "file"


def training_run(network: str, config: OdmConfig) -> TrainingRun:
    """Return a training of a bundled or an uploaded network, not started yet."""
    if not is_uploaded(network):
        return TrainingRun(network, *NETWORKS[network], config)
    scale = scale_of(network)
    return TrainingRun(network, "", scale, config, lambda folder: write_network(network, folder))


def start_sweep(choices: SweepChoices) -> sweep_runs.Run:
    """Start the sweep of the grid: by its title for everybody, or for this page alone if it has own files.

    ValueError and OSError as of `sweep_runs.start`.
    """
    grids = choices.grids()
    if not choices.own_files():
        return sweep_runs.start(choices.title, grids)
    sweep_runs.refuse_while_running()
    name = sweep_runs.reserve_private(choices.title)
    try:
        networks = _written(write_network, choices.networks, sweep_runs.place(name) / "_networks")
        images = _written(write_image, choices.images, sweep_runs.place(name) / "_images")
        return sweep_runs.start_private(
            name,
            [_with_paths(grid, networks, images) for grid in grids],
            {str(path): key for key, path in networks.items()},
            {path.stem: key for key, path in images.items()},
        )
    except BaseException:
        sweep_runs.end_private(name)
        raise


def _written(write: Callable[[str, Path], Path], keys: list[str], folder: Path) -> dict[str, Path]:
    """Write each uploaded file into a folder of its own; return their paths by key."""
    return {key: write(key, folder / f"own_{i}") for i, key in enumerate(filter(is_uploaded, keys))}


def _with_paths(grid: dict, networks: dict[str, Path], images: dict[str, Path]) -> dict:
    """Return the grid with paths in place of keys: of the networks' files, and of the images' folders."""
    made = copy.deepcopy(grid)
    made["network"] = [str(networks.get(key, key)) for key in grid["network"]]
    made["images"] = [str(images[key].parent) if key in images else key for key in grid["images"]]
    return made
