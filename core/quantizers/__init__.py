"""Formulas of quantization: ranges, levels, normalization, and the modules that apply them."""
