"""Data -> figures that change in place."""
