"""Quantization of super-resolution networks: DFSQ and the baselines it is compared with; no GUI."""

from core.analysis.adabm import adabm, adabm_layer_bits
from core.analysis.allocation import allocate_bits
from core.analysis.evaluation import Evaluation, evaluate, super_resolve
from core.analysis.mismatch import mismatch
from core.analysis.sensitivity import sensitivity
from core.checkpoints.loading import load_checkpoint
from core.deploy import (
    LitertNetwork,
    OnnxNetwork,
    audit_litert,
    audit_onnx,
    end_of_litert,
    end_of_onnx,
    export_litert,
    export_onnx,
    quantize_int8,
    quantize_litert,
    time_layers,
    time_litert,
    time_onnx,
)
from core.deploy.output_range import OutputRange, output_range
from core.deploy.representative import representative_images
from core.images import Pair, bicubic, demo_image, demo_names, load_image, luma, make_lr, modcrop
from core.images.folders import paired_folder
from core.images.metrics import colour_shift, psnr_y, ssim_y
from core.models import EDSR, MODELS, without_clip
from core.networks.batchnorm import fold_batchnorm
from core.networks.equalization import equalize_channels
from core.networks.ranges import unit_range
from core.networks.tiles import receptive_radius
from core.points.moments import Moments
from core.points.selection import SELECTORS, ExactSelection, select_points
from core.points.universal_set import UniversalSet
from core.ptq.audit import audit, is_dynamic, is_quantized
from core.ptq.calibration import calibration_patches
from core.ptq.config import QuantConfig
from core.ptq.known import ChosenPoints
from core.ptq.methods import METHODS
from core.ptq.quantize import Calibration, calibrate, quantize_model
from core.ptq.saving import load_quantized, save_quantized
from core.qat.config import OdmConfig
from core.qat.range_tuning import tune_ranges
from core.quantizers.ranges import RANGES
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
    "LitertNetwork",
    "Moments",
    "OdmConfig",
    "OnnxNetwork",
    "OutputRange",
    "Pair",
    "QuantConfig",
    "UniversalSet",
    "adabm",
    "adabm_layer_bits",
    "allocate_bits",
    "audit",
    "audit_litert",
    "audit_onnx",
    "bicubic",
    "calibrate",
    "calibration_patches",
    "colour_shift",
    "create_model",
    "demo_image",
    "demo_names",
    "end_of_litert",
    "end_of_onnx",
    "equalize_channels",
    "evaluate",
    "export_litert",
    "export_onnx",
    "fold_batchnorm",
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
    "quantize_litert",
    "quantize_model",
    "receptive_radius",
    "representative_images",
    "save_quantized",
    "select_points",
    "sensitivity",
    "ssim_y",
    "super_resolve",
    "time_layers",
    "time_litert",
    "time_onnx",
    "tune_ranges",
    "unit_range",
    "without_clip",
]
