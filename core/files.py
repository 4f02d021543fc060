"""Files that are whole at every moment, also when the process is killed or the disk is full."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


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
