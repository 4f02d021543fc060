"""What the authors' own code gives: files of numbers, where they are at hand."""

import json
from pathlib import Path

import numpy as np

SHARED = Path(__file__).resolve().parents[3] / "shared"
REFERENCE = SHARED / "reference"


def load(name):
    return (
        dict(np.load(REFERENCE / name))
        if name.endswith(".npz")
        else json.loads((REFERENCE / name).read_text())
    )


def close(found, expected, tolerance=1e-6):
    found, expected = (np.asarray(x, dtype=np.float64) for x in (found, expected))
    return np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-30)


def close_but_for_ties(found, expected, unrounded, step):
    """All within tolerance; where the unrounded value is within 1e-4 of a half, one step is allowed."""
    found, expected, unrounded = (np.asarray(x, dtype=np.float64) for x in (found, expected, unrounded))
    off = np.abs(found - expected) > 1e-6 * max(np.abs(expected).max(), 1e-30)
    tie = np.abs(np.abs(unrounded - np.floor(unrounded)) - 0.5) < 1e-4
    step = np.broadcast_to(step, found.shape)
    return not (off & ~(tie & (np.abs(found - expected) <= step * 1.001))).any()
