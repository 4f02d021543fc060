"""Quantization-aware training: ODM (arXiv 2307.13337, v1 and v2) and PAMS."""
