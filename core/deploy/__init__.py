"""The way to a phone: ONNX export, static INT8 quantization, audit and timing, all with ONNX Runtime."""

from core.deploy.export import export_onnx
from core.deploy.int8 import quantize_int8
from core.deploy.onnx_files import audit_onnx
from core.deploy.onnx_network import OnnxNetwork
from core.deploy.timing import time_onnx

__all__ = ["OnnxNetwork", "audit_onnx", "export_onnx", "quantize_int8", "time_onnx"]
