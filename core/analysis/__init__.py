"""What quantization does to a network: scores, mismatch, sensitivity, cost, comparison of methods."""
