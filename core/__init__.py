"""Quantization of super-resolution networks: DFSQ and the baselines it is compared with. No GUI in here."""

from core.audit import audit, is_dynamic
from core.calibration import calibration_patches
from core.checkpoint import load_quantized, save_quantized
from core.config import QuantConfig
from core.evaluation import Evaluation, evaluate, receptive_radius, super_resolve
from core.images import (
    Pair,
    bicubic,
    demo_image,
    demo_names,
    load_image,
    luma,
    make_lr,
    modcrop,
    paired_folder,
)
from core.methods import METHODS
from core.metrics import psnr_y, ssim_y
from core.mismatch import mismatch
from core.models import EDSR, MODELS, create_model, load_checkpoint
from core.moments import Moments
from core.point_selection import SELECTORS, ExactSelection, select_points
from core.quantize import Calibration, calibrate, quantize_model
from core.ranges import RANGES
from core.universal_set import UniversalSet

__all__ = [
    "EDSR",
    "METHODS",
    "MODELS",
    "RANGES",
    "SELECTORS",
    "Calibration",
    "Evaluation",
    "ExactSelection",
    "Moments",
    "Pair",
    "QuantConfig",
    "UniversalSet",
    "audit",
    "bicubic",
    "calibrate",
    "calibration_patches",
    "create_model",
    "demo_image",
    "demo_names",
    "evaluate",
    "is_dynamic",
    "load_checkpoint",
    "load_image",
    "load_quantized",
    "luma",
    "make_lr",
    "mismatch",
    "modcrop",
    "paired_folder",
    "psnr_y",
    "quantize_model",
    "receptive_radius",
    "save_quantized",
    "select_points",
    "ssim_y",
    "super_resolve",
]
