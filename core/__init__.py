"""Quantization of super-resolution networks: DFSQ and the baselines it is compared with. No GUI in here."""

from core.audit import audit, is_dynamic, is_quantized
from core.calibration import calibration_patches
from core.checkpoint import load_quantized, save_quantized
from core.config import QuantConfig
from core.deploy import OnnxNetwork, audit_onnx, export_onnx, quantize_int8, time_onnx
from core.evaluation import Evaluation, evaluate, super_resolve
from core.image_folders import paired_folder
from core.images import Pair, bicubic, demo_image, demo_names, load_image, luma, make_lr, modcrop
from core.methods import METHODS
from core.metrics import colour_shift, psnr_y, ssim_y
from core.mismatch import mismatch
from core.models import EDSR, MODELS, load_checkpoint, without_clip
from core.moments import Moments
from core.observers import ChosenPoints
from core.odm_config import OdmConfig
from core.output_range import OutputRange, output_range
from core.point_selection import SELECTORS, ExactSelection, select_points
from core.quantize import Calibration, calibrate, quantize_model
from core.ranges import RANGES
from core.representative import representative_images
from core.sensitivity import sensitivity
from core.tiles import receptive_radius
from core.universal_set import UniversalSet
from core.zoo import create_model

__all__ = [
    "EDSR",
    "METHODS",
    "MODELS",
    "RANGES",
    "SELECTORS",
    "Calibration",
    "ChosenPoints",
    "Evaluation",
    "ExactSelection",
    "Moments",
    "OdmConfig",
    "OnnxNetwork",
    "OutputRange",
    "Pair",
    "QuantConfig",
    "UniversalSet",
    "audit",
    "audit_onnx",
    "bicubic",
    "calibrate",
    "calibration_patches",
    "colour_shift",
    "create_model",
    "demo_image",
    "demo_names",
    "evaluate",
    "export_onnx",
    "is_dynamic",
    "is_quantized",
    "load_checkpoint",
    "load_image",
    "load_quantized",
    "luma",
    "make_lr",
    "mismatch",
    "modcrop",
    "output_range",
    "paired_folder",
    "psnr_y",
    "quantize_int8",
    "quantize_model",
    "receptive_radius",
    "representative_images",
    "save_quantized",
    "select_points",
    "sensitivity",
    "ssim_y",
    "super_resolve",
    "time_onnx",
    "without_clip",
]
