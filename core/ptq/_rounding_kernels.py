"""Compiled loops of `core.ptq.compensation`; each treats the weight rows start..stop on its own."""

from numba import njit

from core.points._selection_kernels import nearest


@njit(nogil=True, cache=True)
def compensated(start, stop, rows, upper, order, levels, rounded):
    """Round column after column, the error of each carried to those still to come (GPTQ).

    upper: upper Cholesky factor of the inverse second moments, in the given order of columns.
    """
    n = rows.shape[1]
    for r in range(start, stop):
        left = rows[r][order]
        for j in range(n):
            q = nearest(levels[r], left[j])
            rounded[r, order[j]] = q
            error = (left[j] - q) / upper[j, j]
            for i in range(j + 1, n):
                left[i] -= error * upper[j, i]


@njit(nogil=True, cache=True)
def descend(start, stop, rows, moments, levels, rounded, sweeps):
    """Move one rounded weight at a time to the level that lowers (q - w)' H (q - w), until none moves."""
    n = rows.shape[1]
    for r in range(start, stop):
        gradient = moments @ (rounded[r] - rows[r])
        for _ in range(sweeps):
            moved = False
            for j in range(n):
                old = rounded[r, j]
                q = nearest(levels[r], old - gradient[j] / moments[j, j])
                if q != old:
                    rounded[r, j] = q
                    moved = True
                    for i in range(n):
                        gradient[i] += (q - old) * moments[j, i]
            if not moved:
                break
