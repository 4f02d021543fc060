"""The EDSR authors' own weights, fetched from their site when asked for by name."""

from __future__ import annotations

import re
from pathlib import Path

import torch

SITE = "https://cv.snu.ac.kr/research/EDSR/models"
# The end of a name is the beginning of the file's SHA-256.
FILES = {
    ("edsr_baseline", 2): "edsr_baseline_x2-1bc95232.pt",
    ("edsr_baseline", 3): "edsr_baseline_x3-abf2a44e.pt",
    ("edsr_baseline", 4): "edsr_baseline_x4-6b446fab.pt",
    ("edsr_large", 2): "edsr_x2-0edfb8a3.pt",
    ("edsr_large", 3): "edsr_x3-ea3ef2c6.pt",
    ("edsr_large", 4): "edsr_x4-4f62e9ef.pt",
}


def official_checkpoint(name: str, scale: int) -> Path:
    """The file in torch.hub's cache, downloaded first if it is not there.

    ValueError lists what exists, and says so when a download is not the file it should be; ConnectionError
    says what to fetch and where to put it.
    """
    if (name, scale) not in FILES:
        there = ", ".join(f"{n} x{s}" for n, s in FILES)
        raise ValueError(f"no official weights for {name} x{scale}; there are {there}")
    file = FILES[name, scale]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning = re.search(r"-([0-9a-f]{8,})\.", file)[1]
    try:
        torch.hub.download_url_to_file(f"{SITE}/{file}", str(path), beginning)
    except RuntimeError as error:  # torch.hub's answer to another hash
        raise ValueError(f"what {SITE}/{file} gave is not that file: {error}") from error
    except OSError as error:  # URLError is one
        raise ConnectionError(
            f"{SITE}/{file} could not be fetched ({error}); fetch it elsewhere and put it at {path}"
        ) from error
    return path
