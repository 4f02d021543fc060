"""Checkpoints as strangers send them: read, recognised, turned into a network."""
