"""Post-training quantization: configuration, methods, calibration, the quantized copy, saving."""
