import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis.knapsack import least_error

OPTIONS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100)), min_size=1, max_size=5)


def total(table, choice):
    return sum(np.array(table[item][option]) for item, option in enumerate(choice))


@given(st.lists(OPTIONS, min_size=1, max_size=5), st.integers(0, 90))
def test_it_equals_trying_everything(table, capacity):
    arrays = [[np.array(column) for column in zip(*options, strict=True)] for options in table]
    costs, errors = zip(*arrays, strict=True)
    every = [total(table, choice) for choice in itertools.product(*(range(len(own)) for own in table))]
    within = [error for cost, error in every if cost <= capacity]
    if not within:
        with pytest.raises(ValueError, match=r"the budget of .* is below .*, the cost of the fewest bits"):
            least_error(costs, errors, capacity)
        return
    cost, error = total(table, least_error(costs, errors, capacity))
    assert cost <= capacity
    assert error == min(within)
    assert cost == min(c for c, e in every if e == error and c <= capacity)


def test_a_larger_case_beats_its_best_lagrangian():
    """The relaxed problem's bound is never above the exact optimum, and its feasible choices never below."""
    rng = np.random.default_rng(0)
    costs = [np.array([w * a for w in range(2, 9) for a in range(2, 9)]) for _ in range(64)]
    errors = [rng.exponential() * 4.0 ** -np.sqrt(own) * rng.uniform(0.5, 1, len(own)) for own in costs]
    capacity = 64 * 16
    chosen = least_error(costs, errors, capacity)
    found = sum(e[i] for e, i in zip(errors, chosen, strict=True))
    assert sum(c[i] for c, i in zip(costs, chosen, strict=True)) <= capacity
    bounds = []
    for price in np.geomspace(1e-8, 1, 400):
        places = [int(np.argmin(e + price * c)) for e, c in zip(errors, costs, strict=True)]
        own = sum(e[i] for e, i in zip(errors, places, strict=True))
        spent = sum(c[i] for c, i in zip(costs, places, strict=True))
        bounds.append(own + price * (spent - capacity))
        if spent <= capacity:
            assert found <= own + 1e-15
    assert found >= max(bounds) - 1e-15
