"""Compiled loops of `core.points.selection`; each handles the channels start..stop independently.

prefix (C, n+1, 2): prefix sums of count and x over the sorted values (C, n). sum_sq (C,): sum of all x².
position (m,): half-grid index of each candidate; empty for raw data, whose edges are found by bisection.
"""

import numpy as np
from numba import njit

KMEANS_ITERATIONS, KMEANS_TOLERANCE = 100, 1e-3  # as in the code of DFSQ's authors


@njit(nogil=True, cache=True)
def _below(values, x):
    """Count the sorted values below x; NumPy's searchsorted takes seconds to compile."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def _up_to(values, x):
    """Count the sorted values up to x."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True, inline="always")
def _edge(values, candidates, position, i, j):
    """Count the values below the midpoint of candidates i and j."""
    if position.size:
        return (position[i] + position[j]) >> 1
    return _below(values, 0.5 * (candidates[i] + candidates[j]))


@njit(nogil=True, cache=True, inline="always")
def _step(prefix, edge, a, b):
    """Return what the neighbours a < b add to a path's squared error; `edge` values lie below their midpoint.

    With n and s the count and the sum of those values, and N, S, Q those of all values (Q of x²), summation
    by parts turns the error of the points c into Q - 2 c_last S + c_last² N + the sum over neighbours of (b -
    a) (2 s - (a + b) n): two numbers looked up for each pair, instead of three at each of three edges.
    """
    return (b - a) * (2.0 * prefix[edge, 1] - (a + b) * prefix[edge, 0])


@njit(nogil=True, cache=True, inline="always")
def _pair_cost(prefix, values, candidates, position, i, j):
    """Return `_step` from candidate i to j."""
    edge = _edge(values, candidates, position, i, j)
    return _step(prefix, edge, candidates[i], candidates[j])


@njit(nogil=True, cache=True)
def _last_cost(prefix, sum_sq, candidates):
    """Return the error of each candidate as the only point, which is the cost of ending a path there."""
    return sum_sq - 2.0 * candidates * prefix[-1, 1] + candidates * candidates * prefix[-1, 0]


@njit(nogil=True, cache=True, inline="always")
def _push(stack, depth, j_low, j_high, i_low, i_high):
    stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = j_low, j_high, i_low, i_high
    return depth + 1


@njit(nogil=True, cache=True)
def _relax(prefix, values, candidates, position, t, pin, before, after, previous):
    """Compute after[j] = min over i < j of before[i] + cost(i, j), for a path of t+1 nodes, t >= 1."""
    m = len(candidates)
    stack = np.empty((64, 4), np.int64)  # intervals still to do, with the bounds of their best predecessor
    depth = _push(stack, 0, t, m - 1, t - 1, m - 2)
    after[:t] = np.inf
    while depth:
        depth -= 1
        j_low, j_high, i_low, i_high = stack[depth]
        j = (j_low + j_high) >> 1
        best, best_i = np.inf, i_low
        # The best predecessor grows with the number of nodes, and no step may skip the pinned candidate.
        first = max(i_low, previous[t - 1, j], pin if j > pin else 0)
        for i in range(first, min(i_high, j - 1) + 1):
            cost = before[i] + _pair_cost(prefix, values, candidates, position, i, j)
            if cost < best:
                best, best_i = cost, i
        after[j] = best
        previous[t, j] = best_i
        if j < j_high:
            depth = _push(stack, depth, j + 1, j_high, best_i, i_high)
        if j_low < j:
            depth = _push(stack, depth, j_low, j - 1, i_low, best_i)


@njit(nogil=True, cache=True)
def shortest_paths(start, stop, prefix, sum_sq, values, candidates, position, pin, previous, last, sse):
    """Find the best choice of every size: `previous` (C, k, m), `last` node and `sse` (C, k).

    pin: index of a candidate that every choice must hold, or -1.
    """
    m = len(candidates)
    for c in range(start, stop):
        tail = _last_cost(prefix[c], sum_sq[c], candidates)
        before, after = np.empty(m), np.zeros(m)
        if pin >= 0:
            after[pin + 1 :] = np.inf
            tail[:pin] = np.inf
        for t in range(last.shape[1]):
            if t:
                before, after = after, before
                _relax(prefix[c], values[c], candidates, position, t, pin, before, after, previous[c])
            best, best_j = np.inf, t
            for j in range(t, m):
                if after[j] + tail[j] < best:
                    best, best_j = after[j] + tail[j], j
            last[c, t], sse[c, t] = best_j, best


@njit(nogil=True, cache=True)
def _sort(points):
    """Sort a few points in place, which are nearly in order; NumPy's sort would take seconds to compile."""
    for i in range(1, len(points)):
        point, place = points[i], i
        while place > 0 and points[place - 1] > point:
            points[place] = points[place - 1]
            place -= 1
        points[place] = point


@njit(nogil=True, cache=True)
def lloyd(prefix, values, centres, pinned, max_iterations, tolerance, spare):
    """Run Lloyd's iteration on sorted values, in place, and return the number of assignments made.

    It stops when no centre moves by `tolerance` or more, and keeps the centres before that last move, as
    DFSQ's authors do. Centre `pinned` (or -1) stays. A centre without values is replaced by one of the
    values: those at the ranks `spare` in [0, 1), in turn.
    """
    k, n_values = len(centres), prefix[-1, 0]
    edges = np.empty(k + 1, np.int64)
    edges[0], edges[k] = 0, len(values)
    fixed = centres[pinned] if pinned >= 0 else np.nan
    moved = np.empty(k)
    replaced = 0
    for iteration in range(max_iterations):
        _sort(centres)
        for i in range(k - 1):
            edges[i + 1] = _up_to(values, 0.5 * (centres[i] + centres[i + 1]))
        farthest = 0.0
        kept = False
        for i in range(k):
            moved[i] = centres[i]
            if centres[i] == fixed and not kept:
                kept = True
                continue
            n = prefix[edges[i + 1], 0] - prefix[edges[i], 0]
            if n > 0:
                moved[i] = (prefix[edges[i + 1], 1] - prefix[edges[i], 1]) / n
            elif len(spare):
                moved[i] = _at_rank(prefix, values, np.floor(spare[replaced % len(spare)] * n_values))
                replaced += 1
            farthest = max(farthest, abs(moved[i] - centres[i]))
        if farthest < tolerance or farthest == 0:
            return iteration + 1
        for i in range(k):
            centres[i] = moved[i]
    return max_iterations


@njit(nogil=True, cache=True)
def _at_rank(prefix, values, rank):
    """Return the value of the given rank (from 0), where each value counts as often as `prefix` says."""
    place = _up_to(prefix[:, 0], rank) - 1
    return values[min(max(place, 0), len(values) - 1)]


@njit(nogil=True, cache=True)
def nearest(candidates, value):
    """Return the sorted candidate nearest to `value`; the lower of two equally near ones."""
    i = _below(candidates, value)
    if i == 0:
        return candidates[0]
    if i == len(candidates) or value - candidates[i - 1] <= candidates[i] - value:
        return candidates[i - 1]
    return candidates[i]


@njit(nogil=True, cache=True)
def _assigned_sse(prefix, sum_sq, values, points):
    """Return the squared error of sorted points, every value assigned to its nearest point."""
    last = points[-1]
    total = sum_sq - 2.0 * last * prefix[-1, 1] + last * last * prefix[-1, 0]
    for i in range(len(points) - 1):
        edge = _below(values, 0.5 * (points[i] + points[i + 1]))
        total += _step(prefix, edge, points[i], points[i + 1])
    return total


@njit(nogil=True, cache=True)
def kmeans_restarts(start, stop, prefix, sum_sq, values, candidates, draws, chosen):
    """Run Lloyd from the ranks `draws` (C, restarts, k-1) in [0, 1), snap, and write the best to `chosen`."""
    for c in range(start, stop):
        # Leave out cells without data.
        data = np.empty(values.shape[1])
        sums = np.zeros((values.shape[1] + 1, 2))
        filled = 0
        for i in range(values.shape[1]):
            if prefix[c, i + 1, 0] > prefix[c, i, 0]:
                data[filled] = values[c, i]
                filled += 1
                sums[filled, 0], sums[filled, 1] = prefix[c, i + 1, 0], prefix[c, i + 1, 1]
        data, sums = data[:filled], sums[: filled + 1]
        best = np.inf
        for r in range(draws.shape[1]):
            centres = np.zeros(draws.shape[2] + 1)
            if filled:
                ranks = _without_replacement(draws[c, r], sums[-1, 0])
                for i in range(len(ranks)):
                    centres[i + 1] = _at_rank(sums, data, ranks[i])
            spare = draws[c, (r + 1) % draws.shape[1]]
            lloyd(sums, data, centres, 0, KMEANS_ITERATIONS, KMEANS_TOLERANCE, spare)
            for i in range(len(centres)):
                centres[i] = nearest(candidates, centres[i])
            _sort(centres)
            sse = _assigned_sse(sums, sum_sq[c], data, centres)
            if sse < best:
                best = sse
                for i in range(len(centres)):
                    chosen[c, i] = centres[i]


@njit(nogil=True, cache=True)
def _without_replacement(draws, n):
    """Return integer ranks below n; a rank drawn before is replaced by the next free one."""
    ranks = np.floor(draws * n)
    if len(ranks) > n:
        return ranks
    for i in range(len(ranks)):
        again = True
        while again:
            again = False
            for j in range(i):
                if ranks[j] == ranks[i]:
                    ranks[i] = (ranks[i] + 1) % n
                    again = True
    return ranks


@njit(nogil=True, cache=True)
def greedy(start, stop, prefix, sum_sq, values, candidates, position, chosen):
    """Select forward: always add the candidate that lowers the error most.

    A gain changes only when a neighbour is chosen, so few gains are recomputed.
    """
    m = len(candidates)
    for c in range(start, stop):
        sums, data = prefix[c], values[c]
        tail = _last_cost(sums, sum_sq[c], candidates)
        taken = np.zeros(m, np.bool_)
        taken[np.argmin(tail)] = True
        change = np.full(m, np.inf)  # of the error when the candidate is added
        low, high = 0, m
        for _ in range(chosen.shape[1] - 1):
            left = -1
            for j in range(low - 1, -1, -1):
                if taken[j]:
                    left = j
                    break
            for j in range(low, high):
                if taken[j]:
                    left = j
                    continue
                right = j + 1
                while right < m and not taken[right]:
                    right += 1
                new = 0.0
                if left >= 0:
                    new += _pair_cost(sums, data, candidates, position, left, j)
                if right < m:
                    new += _pair_cost(sums, data, candidates, position, j, right)
                if left < 0:
                    change[j] = new
                elif right == m:
                    change[j] = new + tail[j] - tail[left]
                else:
                    change[j] = new - _pair_cost(sums, data, candidates, position, left, right)
            best = np.argmin(change)
            taken[best] = True
            change[best] = np.inf
            low, high = best, best + 1
            while low > 0 and not taken[low - 1]:
                low -= 1
            while high < m and not taken[high]:
                high += 1
        place = 0
        for j in range(m):
            if taken[j]:
                chosen[c, place] = candidates[j]
                place += 1
