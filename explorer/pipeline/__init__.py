"""Choices -> data, cached over all sessions; never a figure."""
