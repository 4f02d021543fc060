"""Sweeps: grids of configurations, computed on a Dask cluster and kept as Parquet."""

from core.sweep.grid_file import load_grid, named_images
from core.sweep.run import prepared, sweep

__all__ = ["load_grid", "named_images", "prepared", "sweep"]
