"""Checkpoints of any origin: read safely, recognised by their tensors, built as a network."""
