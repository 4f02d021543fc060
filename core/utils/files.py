"""Files that are whole at every moment, also when the process is killed or the disk is full; their names."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

OUTPUTS = {".csv", ".html", ".json", ".safetensors", ".ckpt"}


def output_file(out: Path, suffix: str) -> Path:
    """The file of a command's `--out`: `suffix` after the whole name, as v1.1.csv of v1.1.

    One of the commands' own suffixes is not kept: report.html of report.csv. ValueError if there is no name.
    """
    name = out.name.removesuffix(out.suffix) if out.suffix in OUTPUTS else out.name
    if not name.strip("."):
        raise ValueError(f"--out must end with a name for the results, got {out}")
    return out.with_name(name + suffix)


def folder_name(path: Path) -> str:
    """Its last part, also of . and of .., which have none of their own."""
    return Path(os.path.abspath(path)).name


def distinct_names(paths: Sequence[Path], name: Callable[[Path], str]) -> list[str]:
    """Give each path its `name`, or as many of its last parts as it takes where others have the same.

    A path that is there twice has one name. `name` is asked for absolute paths.
    """
    whole = [Path(os.path.abspath(path)) for path in paths]
    names = {path: name(path) for path in whole}
    length = 1
    while twins := {text for text, number in Counter(names.values()).items() if number > 1}:
        length += 1
        names |= {path: str(Path(*path.parts[-length:])) for path in names if names[path] in twins}
    return [names[path] for path in whole]


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, then put it in its place.

    OSError, in a sentence, where that cannot be; then the old file is as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OSError(
            f"{path} could not be written ({error.strerror}); make room there or choose another place, then "
            "start again"
        ) from error
