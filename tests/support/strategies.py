"""Hypothesis strategies: small universal sets, data that tie often, and choices of points."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core import UniversalSet

universal_sets = st.builds(UniversalSet, words=st.integers(1, 4), terms=st.integers(2, 4))

# Multiples of 1/64: sums are exact in float64, and many values lie on midpoints.
dyadic = st.integers(-64, 64).map(lambda i: i / 64)
values = st.one_of(dyadic, st.floats(-1, 1, width=32))


def channels(elements=values, max_channels=3, max_values=40):
    """Raw data (C, n) in [-1, 1]."""
    shapes = st.tuples(st.integers(1, max_channels), st.integers(1, max_values))
    return shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=elements))


def grid_points(steps_per_unit, min_size=1, max_size=9):
    """Distinct sorted points on the grid of step 1/steps_per_unit."""
    multiples = st.integers(-steps_per_unit, steps_per_unit)
    unique = st.lists(multiples, min_size=min_size, max_size=max_size, unique=True)
    return unique.map(lambda chosen: np.sort(chosen) / steps_per_unit)
