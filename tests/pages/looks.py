"""How the tabs should look: as in tests/ui/looks.

`NEW_LOOKS=1 make test ARGS='-k look'` saves new references.
"""

import io
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

LOOKS = Path(__file__).parents[1] / "ui" / "looks"
FONT = "Liberation Sans"  # Debian's for Helvetica: with another one every line ends elsewhere
LIKE = 0.9  # the least SSIM; two runs have 0.99, a page that is 4 pixels lower 0.7


def check_look(name: str, screenshot: bytes) -> None:
    """Compare a screenshot with its reference, both in grey at a quarter of the size."""
    seen = np.asarray(Image.open(io.BytesIO(screenshot)).convert("L").reduce(4))
    reference = LOOKS / f"{name}.png"
    if os.environ.get("NEW_LOOKS"):
        Image.fromarray(seen).save(reference)
    if _has_font():
        likeness = structural_similarity(seen, np.asarray(Image.open(reference)))
        assert likeness > LIKE, f"{name} looks otherwise than {reference}: SSIM {likeness:.2f}"


def _has_font() -> bool:
    if not (ask := shutil.which("fc-match")):
        return False
    return FONT in subprocess.run([ask, "Helvetica"], capture_output=True, text=True, check=True).stdout
