"""YAML files as people write them: what YAML takes for something else is said in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from core.images import demo_image, demo_names
from core.images.folders import image_files, load_folder
from core.sweep.grid import Grid


class _Loader(yaml.SafeLoader):
    """Plain values only; of two equal keys YAML itself would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is there twice; give one list of all its values", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> object:
    """The values of a YAML file; ValueError with the place where it is none."""
    try:
        return yaml.load(path.read_bytes(), _Loader)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, " ".join(str(error.problem).split())
        tabs = "; indent with spaces" if "'\\t'" in problem else ""
        place = f"line {mark.line + 1}, column {mark.column + 1}"
        raise ValueError(f"{path} is not readable as YAML in {place}: {problem}{tabs}") from error
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from error


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
