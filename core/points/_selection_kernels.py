"""Compiled loops of `core.points.selection`; each treats the channels start..stop on its own.

prefix (C, n+1, 2): prefix sums of count and x over sorted values (C, n). sum_sq (C,): of all x². position
(m,): half-grid index of each candidate, or empty where the data are raw and edges are found by bisection.
"""

import numpy as np
from numba import njit

KMEANS_ITERATIONS, KMEANS_TOLERANCE = 100, 1e-3  # DFSQ's authors'


@njit(nogil=True, cache=True, inline="always")
def _edge(values, candidates, position, i, j):
    """Number of values below the midpoint of candidates i and j."""
    if position.size:
        return (position[i] + position[j]) >> 1
    return np.searchsorted(values, 0.5 * (candidates[i] + candidates[j]))


@njit(nogil=True, cache=True, inline="always")
def _step(prefix, edge, a, b):
    """What the neighbours a < b add to the squared error of a path; `edge` values lie below their midpoint.

    With n and s the count and the sum of those values, and N, S, Q those of all values (Q of x²), summation
    by parts turns the error of the points c into
    Q - 2 c_last S + c_last² N + the sum over neighbours of (b - a) (2 s - (a + b) n):
    two numbers looked up for a pair, instead of three for each of its three edges.
    """
    return (b - a) * (2.0 * prefix[edge, 1] - (a + b) * prefix[edge, 0])


@njit(nogil=True, cache=True, inline="always")
def _pair_cost(prefix, values, candidates, position, i, j):
    """`_step` from candidate i to j."""
    edge = _edge(values, candidates, position, i, j)
    return _step(prefix, edge, candidates[i], candidates[j])


@njit(nogil=True, cache=True)
def _last_cost(prefix, sum_sq, candidates):
    """The error of each candidate alone: the end of a path."""
    return sum_sq - 2.0 * candidates * prefix[-1, 1] + candidates * candidates * prefix[-1, 0]


@njit(nogil=True, cache=True, inline="always")
def _push(stack, depth, j_low, j_high, i_low, i_high):
    stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = j_low, j_high, i_low, i_high
    return depth + 1


@njit(nogil=True, cache=True)
def _relax(prefix, values, candidates, position, t, pin, before, after, previous):
    """after[j] = min over i < j of before[i] + cost(i, j), for a path of t+1 nodes, t >= 1."""
    m = len(candidates)
    stack = np.empty((64, 4), np.int64)  # intervals still to do, with the bounds of their best predecessor
    depth = _push(stack, 0, t, m - 1, t - 1, m - 2)
    after[:t] = np.inf
    while depth:
        depth -= 1
        j_low, j_high, i_low, i_high = stack[depth]
        j = (j_low + j_high) >> 1
        best, best_i = np.inf, i_low
        # The best predecessor moves up with the number of nodes; and no step over the pinned candidate.
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
    """Best choice of every size: `previous` (C, k, m), `last` node and `sse` (C, k).

    pin: index of a candidate that every choice holds, or -1.
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
def lloyd(prefix, values, centres, pinned, max_iterations, tolerance, spare):
    """Lloyd's iteration on sorted values, in place; the number of assignments made.

    It ends when no centre moves by `tolerance` or more, and keeps the centres before that last move, as
    DFSQ's authors do. Centre `pinned` (or -1) stays. A centre without values is replaced by one of them: at
    the ranks of `spare` in [0, 1), one after the other.
    """
    k, n_values = len(centres), prefix[-1, 0]
    edges = np.empty(k + 1, np.int64)
    edges[0], edges[k] = 0, len(values)
    fixed = centres[pinned] if pinned >= 0 else np.nan
    moved = np.empty(k)
    replaced = 0
    for iteration in range(max_iterations):
        centres.sort()
        for i in range(k - 1):
            edges[i + 1] = np.searchsorted(values, 0.5 * (centres[i] + centres[i + 1]), side="right")
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
        centres[:] = moved
    return max_iterations


@njit(nogil=True, cache=True)
def _at_rank(prefix, values, rank):
    """The value of so high a rank, from 0, where each is counted as often as `prefix` says."""
    place = np.searchsorted(prefix[:, 0], rank, side="right") - 1
    return values[min(max(place, 0), len(values) - 1)]


@njit(nogil=True, cache=True)
def nearest(candidates, value):
    """The sorted candidate nearest to `value`; of two equally near the lower."""
    i = np.searchsorted(candidates, value)
    if i == 0:
        return candidates[0]
    if i == len(candidates) or value - candidates[i - 1] <= candidates[i] - value:
        return candidates[i - 1]
    return candidates[i]


@njit(nogil=True, cache=True)
def _assigned_sse(prefix, sum_sq, values, points):
    """Squared error of sorted points, every value going to its nearest."""
    last = points[-1]
    total = sum_sq - 2.0 * last * prefix[-1, 1] + last * last * prefix[-1, 0]
    for i in range(len(points) - 1):
        edge = np.searchsorted(values, 0.5 * (points[i] + points[i + 1]))
        total += _step(prefix, edge, points[i], points[i + 1])
    return total


@njit(nogil=True, cache=True)
def kmeans_restarts(start, stop, prefix, sum_sq, values, candidates, draws, chosen):
    """Lloyd from the ranks `draws` (C, restarts, k-1) in [0, 1), snapped; the best into `chosen`."""
    for c in range(start, stop):
        # Only cells that hold data take part.
        filled = np.nonzero(prefix[c, 1:, 0] > prefix[c, :-1, 0])[0]
        data = values[c][filled]
        sums = np.zeros((len(filled) + 1, 2))
        for i in range(len(filled)):
            sums[i + 1] = prefix[c, filled[i] + 1]
        best = np.inf
        for r in range(draws.shape[1]):
            centres = np.zeros(draws.shape[2] + 1)
            if len(filled):
                ranks = _without_replacement(draws[c, r], sums[-1, 0])
                for i in range(len(ranks)):
                    centres[i + 1] = _at_rank(sums, data, ranks[i])
            spare = draws[c, (r + 1) % draws.shape[1]]
            lloyd(sums, data, centres, 0, KMEANS_ITERATIONS, KMEANS_TOLERANCE, spare)
            for i in range(len(centres)):
                centres[i] = nearest(candidates, centres[i])
            centres.sort()
            sse = _assigned_sse(sums, sum_sq[c], data, centres)
            if sse < best:
                best = sse
                chosen[c] = centres


@njit(nogil=True, cache=True)
def _without_replacement(draws, n):
    """Whole ranks below n, the next free one in the place of one that was drawn before."""
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
    """Forward selection; a gain changes only when a neighbour is chosen, so few are recomputed."""
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
        chosen[c] = candidates[taken]
