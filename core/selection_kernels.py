"""Compiled loops of `core.point_selection`; each treats the channels start..stop on its own.

prefix (C, n+1, 3): prefix sums of count, x, x² over sorted values (C, n). position (m,): half-grid index
of each candidate, or empty where the data are raw and edges are found by bisection.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, inline="always")
def _sse_between(prefix, low, high, point):
    """Squared error of mapping the sorted values low..high to `point`."""
    n = prefix[high, 0] - prefix[low, 0]
    s = prefix[high, 1] - prefix[low, 1]
    q = prefix[high, 2] - prefix[low, 2]
    return q - 2.0 * point * s + point * point * n


@njit(nogil=True, cache=True, inline="always")
def _edge(values, candidates, position, i, j):
    """Number of values below the midpoint of candidates i and j."""
    if position.size:
        return (position[i] + position[j]) >> 1
    return np.searchsorted(values, 0.5 * (candidates[i] + candidates[j]))


@njit(nogil=True, cache=True)
def _pair_cost(prefix, values, candidates, position, own_edge, i, j):
    """Error of the data between candidates i < j when no point lies between them."""
    middle = _edge(values, candidates, position, i, j)
    left = _sse_between(prefix, own_edge[i], middle, candidates[i])
    return left + _sse_between(prefix, middle, own_edge[j], candidates[j])


@njit(nogil=True, cache=True)
def _own_edges(values, candidates, position):
    edges = np.empty(len(candidates), np.int64)
    for i in range(len(candidates)):
        edges[i] = _edge(values, candidates, position, i, i)
    return edges


@njit(nogil=True, cache=True, inline="always")
def _push(stack, depth, j_low, j_high, i_low, i_high):
    stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = j_low, j_high, i_low, i_high
    return depth + 1


@njit(nogil=True, cache=True)
def _relax(prefix, values, candidates, position, own_edge, t, before, after, previous):
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
        for i in range(i_low, min(i_high, j - 1) + 1):
            cost = before[i] + _pair_cost(prefix, values, candidates, position, own_edge, i, j)
            if cost < best:
                best, best_i = cost, i
        after[j] = best
        previous[j] = best_i
        if j < j_high:
            depth = _push(stack, depth, j + 1, j_high, best_i, i_high)
        if j_low < j:
            depth = _push(stack, depth, j_low, j - 1, i_low, best_i)


@njit(nogil=True, cache=True)
def shortest_paths(start, stop, prefix, values, candidates, position, previous, last, sse):
    """Best choice of every size: `previous` (C, k, m), `last` node and `sse` (C, k)."""
    m, n_values = len(candidates), values.shape[1]
    for c in range(start, stop):
        own_edge = _own_edges(values[c], candidates, position)
        before, after = np.empty(m), np.empty(m)
        tail = np.empty(m)
        for j in range(m):
            after[j] = _sse_between(prefix[c], 0, own_edge[j], candidates[j])
            tail[j] = _sse_between(prefix[c], own_edge[j], n_values, candidates[j])
        for t in range(last.shape[1]):
            if t:
                before, after = after, before
                _relax(prefix[c], values[c], candidates, position, own_edge, t, before, after, previous[c, t])
            best, best_j = np.inf, t
            for j in range(t, m):
                if after[j] + tail[j] < best:
                    best, best_j = after[j] + tail[j], j
            last[c, t], sse[c, t] = best_j, best


@njit(nogil=True, cache=True)
def lloyd(prefix, values, centres, pinned, max_iterations):
    """Lloyd's iteration on sorted values, in place, until no centre moves; centre `pinned` (or -1) stays."""
    k = len(centres)
    edges = np.empty(k + 1, np.int64)
    edges[0], edges[k] = 0, len(values)
    fixed = centres[pinned] if pinned >= 0 else np.nan
    for _ in range(max_iterations):
        centres.sort()
        for i in range(k - 1):
            edges[i + 1] = np.searchsorted(values, 0.5 * (centres[i] + centres[i + 1]))
        moved = False
        kept = False
        for i in range(k):
            if centres[i] == fixed and not kept:
                kept = True
                continue
            n = prefix[edges[i + 1], 0] - prefix[edges[i], 0]
            if n > 0:  # an empty cluster keeps its centre
                mean = (prefix[edges[i + 1], 1] - prefix[edges[i], 1]) / n
                if mean != centres[i]:
                    centres[i] = mean
                    moved = True
        if not moved:
            break


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
def _assigned_sse(prefix, values, points):
    """Squared error of sorted points, every value going to its nearest."""
    total, low = 0.0, 0
    for i in range(len(points)):
        high = len(values)
        if i + 1 < len(points):
            high = np.searchsorted(values, 0.5 * (points[i] + points[i + 1]))
        total += _sse_between(prefix, low, high, points[i])
        low = high
    return total


@njit(nogil=True, cache=True)
def kmeans_restarts(start, stop, prefix, values, candidates, draws, chosen):
    """Lloyd from each of `draws` (C, restarts, k-1) in [0, 1), snapped; the best restart into `chosen`."""
    for c in range(start, stop):
        # Only cells that hold data take part.
        filled = np.nonzero(prefix[c, 1:, 0] > prefix[c, :-1, 0])[0]
        data = values[c][filled]
        sums = np.zeros((len(filled) + 1, 3))
        for i in range(len(filled)):
            sums[i + 1] = prefix[c, filled[i] + 1]
        best = np.inf
        for r in range(draws.shape[1]):
            centres = np.zeros(draws.shape[2] + 1)
            if len(filled):
                for i in range(draws.shape[2]):
                    rank = np.searchsorted(sums[:, 0], draws[c, r, i] * sums[-1, 0], side="right")
                    centres[i + 1] = data[min(rank - 1, len(data) - 1)]
            lloyd(sums, data, centres, 0, 300)
            for i in range(len(centres)):
                centres[i] = nearest(candidates, centres[i])
            centres.sort()
            sse = _assigned_sse(sums, data, centres)
            if sse < best:
                best = sse
                chosen[c] = centres


@njit(nogil=True, cache=True)
def greedy(start, stop, prefix, values, candidates, position, chosen):
    """Forward selection; a gain changes only when a neighbour is chosen, so few are recomputed."""
    m, n_values = len(candidates), values.shape[1]
    for c in range(start, stop):
        sums, data = prefix[c], values[c]
        own_edge = _own_edges(data, candidates, position)
        head, tail = np.empty(m), np.empty(m)
        for j in range(m):
            head[j] = _sse_between(sums, 0, own_edge[j], candidates[j])
            tail[j] = _sse_between(sums, own_edge[j], n_values, candidates[j])
        taken = np.zeros(m, np.bool_)
        first = np.argmin(head + tail)
        taken[first] = True
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
                now = 0.0
                if left < 0:
                    now = head[right]
                    new = head[j] + _pair_cost(sums, data, candidates, position, own_edge, j, right)
                elif right == m:
                    now = tail[left]
                    new = tail[j] + _pair_cost(sums, data, candidates, position, own_edge, left, j)
                else:
                    now = _pair_cost(sums, data, candidates, position, own_edge, left, right)
                    new = _pair_cost(sums, data, candidates, position, own_edge, left, j)
                    new += _pair_cost(sums, data, candidates, position, own_edge, j, right)
                change[j] = new - now
            best = np.argmin(change)
            taken[best] = True
            change[best] = np.inf
            low, high = best, best + 1
            while low > 0 and not taken[low - 1]:
                low -= 1
            while high < m and not taken[high]:
                high += 1
        chosen[c] = candidates[taken]
