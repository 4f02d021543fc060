"""Published PSNR figures, to stand beside ours and never for them: other networks, scopes and metrics."""

from __future__ import annotations

from typing import NamedTuple

SETS = ("Set5", "Set14", "B100", "Urban100")


class Published(NamedTuple):
    """PSNR in dB on SETS, None where the paper gives none; `bits` of weights and activations alike."""

    network: str
    method: str
    bits: int
    psnr: tuple[float | None, ...]
    source: str


_COMPARED = "compared in arXiv 2406.06649"
_SWINIR = "SwinIR-light ×2, float 38.15 / 33.86 / 32.31 / 32.76"
_EDSR = "EDSR-baseline ×4, float 32.10 / 28.58 / 27.56 / 26.04"

PUBLISHED = (
    Published(_SWINIR, "min–max", 4, (34.39, 30.55, 29.72, 28.40), _COMPARED),
    Published(_SWINIR, "min–max", 3, (28.19, 26.40, 25.83, 25.19), _COMPARED),
    Published(_SWINIR, "min–max", 2, (33.88, 30.81, 29.99, 27.48), _COMPARED),
    Published(_SWINIR, "2DQuant, stage 1", 4, (37.44, 33.15, 31.75, 31.29), "arXiv 2406.06649"),
    Published(_SWINIR, "2DQuant, stage 1", 3, (36.37, 32.33, 31.12, 29.65), "arXiv 2406.06649"),
    Published(_SWINIR, "2DQuant, stage 1", 2, (35.25, 31.72, 30.62, 28.52), "arXiv 2406.06649"),
    Published(_SWINIR, "2DQuant", 4, (37.87, 33.41, 32.02, 31.84), "arXiv 2406.06649"),
    Published(_SWINIR, "2DQuant", 3, (37.32, 32.85, 31.60, 30.45), "arXiv 2406.06649"),
    Published(_SWINIR, "2DQuant", 2, (36.00, 31.98, 30.91, 28.62), "arXiv 2406.06649"),
    Published(_EDSR, "min–max, after training", 4, (26.83, 25.04, 24.57, 23.12), "arXiv 2511.00682"),
    Published(_EDSR, "PTQ4SR, after training", 4, (30.51, 27.62, 26.88, 24.92), "arXiv 2511.00682"),
    Published(_EDSR, "AdaBM, after training", 4, (31.02, 27.87, 26.91, 25.11), "arXiv 2511.00682"),
    Published(_EDSR, "outlier-aware, after training", 4, (31.54, 28.26, 27.36, 25.61), "arXiv 2511.00682"),
    Published(_EDSR, "DAQ, trained", 4, (31.85, 28.38, 27.42, 25.73), "arXiv 2012.11230"),
    Published(_EDSR, "DAQ, trained", 2, (31.01, 27.89, 27.09, 24.88), "arXiv 2012.11230"),
    Published(_EDSR, "PAMS, trained", 4, (31.59, 28.20, None, 25.32), "arXiv 2307.13337"),
    Published(_EDSR, "PAMS, trained", 2, (29.51, 26.79, None, 23.72), "arXiv 2307.13337"),
    Published(_EDSR, "ODM, trained", 4, (32.00, 28.47, None, 25.80), "arXiv 2307.13337"),
    Published(_EDSR, "ODM, trained", 2, (31.50, 28.14, None, 25.17), "arXiv 2307.13337"),
)
