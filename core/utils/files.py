"""Writing files so that a kill or a full disk never leaves half a file, and naming them."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

OUTPUTS = {".csv", ".html", ".json", ".safetensors", ".ckpt"}


def output_file(out: Path, suffix: str) -> Path:
    """Return the path of a command's output: `suffix` added to the name in `--out` (v1.1 -> v1.1.csv).

    A suffix that the commands write themselves is replaced (report.csv -> report.html). ValueError if `out`
    ends without a name.
    """
    name = out.name.removesuffix(out.suffix) if out.suffix in OUTPUTS else out.name
    if not name.strip("."):
        raise ValueError(f"--out must end with a name for the results, got {out}")
    return out.with_name(name + suffix)


def folder_name(path: Path) -> str:
    """Return the last part of the absolute path, so that . and .. have a name too."""
    return Path(os.path.abspath(path)).name


def distinct_names(paths: Sequence[Path], name: Callable[[Path], str]) -> list[str]:
    """Return a different name for each path: `name(path)`, or the last parts of the path where names collide.

    The same path given twice gets the same name. `name` is called with absolute paths.
    """
    whole = [Path(os.path.abspath(path)) for path in paths]
    names = {path: name(path) for path in whole}
    length = 1
    while twins := {text for text, number in Counter(names.values()).items() if number > 1}:
        length += 1
        names |= {path: str(Path(*path.parts[-length:])) for path in names if names[path] in twins}
    return [names[path] for path in whole]


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to a file beside `path`, then move it there in one step.

    OSError, with a sentence that says what to do, if it cannot be written; the old file is then unchanged.
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
