"""The effects of quantization on a network: scores, mismatch, sensitivity, cost, comparison of methods."""
