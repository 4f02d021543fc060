"""Deployment on a phone: export, static INT8 quantization, audit and timing, with ONNX Runtime and LiteRT."""

from core.deploy.litert import export_litert
from core.deploy.litert_files import audit_litert, end_of_litert
from core.deploy.litert_int8 import quantize_litert
from core.deploy.litert_network import LitertNetwork
from core.deploy.onnx_export import export_onnx
from core.deploy.onnx_files import audit_onnx, end_of_onnx
from core.deploy.onnx_int8 import quantize_int8
from core.deploy.onnx_network import OnnxNetwork
from core.deploy.timing import time_in_turns, time_layers, time_litert, time_onnx

__all__ = [
    "LitertNetwork",
    "OnnxNetwork",
    "audit_litert",
    "audit_onnx",
    "end_of_litert",
    "end_of_onnx",
    "export_litert",
    "export_onnx",
    "quantize_int8",
    "quantize_litert",
    "time_in_turns",
    "time_layers",
    "time_litert",
    "time_onnx",
]
