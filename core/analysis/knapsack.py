"""The knapsack of choosing one option for every item: the least error within a budget, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def least_error(costs: Sequence[np.ndarray], errors: Sequence[np.ndarray], capacity: int) -> list[int]:
    """Return the index of one option for each item: the least sum of errors with costs within `capacity`.

    costs, errors: of the options of each item, (k,) each; costs are whole numbers. Exact, by dynamic
    programming: after each item only the sums remain that no other beats in both cost and error (Nemhauser
    and Ullmann 1969). Of equal errors the cheaper one wins. ValueError if the cheapest options cost more.

    >>> import numpy as np
    >>> from core.analysis.knapsack import least_error
    >>> least_error([np.array([1, 4]), np.array([1, 4])], [np.array([9.0, 1.0]), np.array([5.0, 3.0])], 5)
    [1, 0]
    """
    costs = [np.asarray(own, dtype=np.int64) for own in costs]
    cheapest = np.array([own.min() for own in costs], dtype=np.int64)
    needed = np.append(np.cumsum(cheapest[::-1])[::-1], 0)  # by this item and those after it
    if needed[0] > capacity:
        raise ValueError(f"the budget of {capacity:,} is below {needed[0]:,}, the cost of the fewest bits")
    cost, error = np.zeros(1, dtype=np.int64), np.zeros(1)
    steps: list[tuple[np.ndarray, np.ndarray]] = []  # the state before, and the option taken, of each state
    for i, (own_cost, own_error) in enumerate(zip(costs, errors, strict=True)):
        sums = (cost[:, None] + own_cost).ravel()
        totals = (error[:, None] + np.asarray(own_error, dtype=np.float64)).ravel()
        kept = np.flatnonzero(sums + needed[i + 1] <= capacity)
        kept = kept[np.lexsort((totals[kept], sums[kept]))]
        lowest = np.minimum.accumulate(totals[kept])
        kept = kept[np.append(True, lowest[1:] < lowest[:-1])]
        cost, error = sums[kept], totals[kept]
        steps.append(np.divmod(kept, len(own_cost)))
    state, chosen = len(cost) - 1, []  # the last state costs the most and has the least error
    for before, option in reversed(steps):
        chosen.append(int(option[state]))
        state = before[state]
    return chosen[::-1]
