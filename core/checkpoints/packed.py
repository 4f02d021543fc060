"""Quantized weights packed into codes of their own number of bits, and back to the same weights to the bit.

A row of weights, those of one output channel, lies on its levels. Where these are evenly spaced, code c is
a + b (c + first), rounded to float32; else the levels are listed, once for all rows if they share them.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from core.models.state_dict import State

MAX_DIVISOR = 8  # the smallest distance of two weights of a row is at most as many steps
NEARLY = 0.05  # of a step: how far the first guess of a level's place may be from a whole number
CODES, LINE, LEVELS = "codes", "line", "levels"


def pack_layer(state: State, name: str, bits: int) -> dict[str, list[int]]:
    """Replace a layer's weight in `state`, its output channels first, by codes; return what a header says."""
    weight = state[f"{name}.weight"]
    packed = pack(weight.flatten(1), bits)
    if packed is None:
        return {}
    del state[f"{name}.weight"]
    state.update({f"{name}.weight.{part}": value for part, value in packed.items()})
    return {"packed": list(weight.shape)}


def unpack_layer(state: State, name: str, bits: int, shape: list[int]) -> None:
    """Put a layer's weight back in `state`; ValueError for codes that do not fit, nothing without any."""
    start = f"{name}.weight."
    packed = {key.removeprefix(start): state.pop(key) for key in list(state) if key.startswith(start)}
    if packed:
        state[f"{name}.weight"] = unpack(packed, tuple(shape), bits)


def pack_points(state: State, name: str, step: float | None) -> None:
    """Replace points on a grid of `step` by whole numbers of steps, if that gives them back to the bit."""
    if name in state and step is not None:
        steps = (state[name] / step).round()
        if torch.equal(steps * step, state[name]) and steps.abs().max() < 2**15:
            state[name] = steps.to(torch.int16)


def unpack_points(state: State, name: str, settings: dict) -> None:
    """Put points that are whole numbers of steps back as such."""
    if name in state and state[name].dtype == torch.int16:
        state[name] = state[name].double() * float(settings["step"])


def pack(rows: torch.Tensor, bits: int) -> State | None:
    """Pack rows (R, n), each of at most `2**bits` distinct values; None if that would not make them smaller.

    Returns CODES, uint8, and either LINE (R, 3) float64 of a, b and first, or LEVELS (R or 1, k) float32.
    """
    if rows.dtype != torch.float32 or not 1 <= bits <= 8:
        return None
    table = rows.detach().cpu().numpy()
    found = _by_shared_levels(table, bits) or _by_lines(table, bits) or _by_levels(table, bits)
    if found is None:
        return None
    codes, name, side = found
    packed = {CODES: pack_codes(codes.ravel(), bits), name: side}
    smaller = sum(array.nbytes for array in packed.values()) < table.nbytes
    return {key: torch.from_numpy(array) for key, array in packed.items()} if smaller else None


def unpack(packed: State, shape: tuple[int, ...], bits: int) -> torch.Tensor:
    """Return the weights of what `pack` returned; ValueError if it does not fit the shape and the bits."""
    if not (1 <= bits <= 8 and shape and all(type(size) is int and size > 0 for size in shape)):
        raise ValueError("no shape, or no number of bits")
    number, n_rows = math.prod(shape), shape[0]
    codes = packed[CODES]
    if codes.dtype != torch.uint8 or codes.shape != (math.ceil(number * bits / 8),):
        raise ValueError("more or fewer codes than weights")
    index = unpack_codes(codes.numpy(), bits, number).reshape(n_rows, -1)
    if LINE in packed:
        line = packed[LINE].double().numpy()
        if line.shape != (n_rows, 3):
            raise ValueError("more or fewer lines than rows")
        start, step, first = np.split(line, 3, axis=1)
        values = (start + step * (index + first)).astype(np.float32)
    else:
        levels = packed[LEVELS].float().numpy()
        if levels.ndim != 2 or len(levels) not in (1, n_rows) or index.max() >= levels.shape[1]:
            raise ValueError("levels that do not fit the codes")
        values = np.take_along_axis(np.broadcast_to(levels, (n_rows, levels.shape[1])), index, axis=1)
    if not np.isfinite(values).all():
        raise ValueError("infinite weights")
    return torch.from_numpy(np.ascontiguousarray(values)).view(shape)


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack whole numbers (n,) from 0 to 2**bits - 1, bits <= 8, into ceil(n * bits / 8) bytes.

    >>> import numpy as np
    >>> from core.checkpoints.packed import pack_codes
    >>> pack_codes(np.array([1, 2, 3]), 4).tolist()  # 0001 0010, 0011 and 4 bits to fill the byte
    [18, 48]
    """
    return np.packbits(np.unpackbits(codes.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :])


def unpack_codes(packed: np.ndarray, bits: int, number: int) -> np.ndarray:
    """Return the `number` whole numbers that `pack_codes` packed, int64."""
    table = np.unpackbits(packed, count=number * bits).reshape(number, bits)
    return np.packbits(np.pad(table, ((0, 0), (8 - bits, 0))), axis=1)[:, 0].astype(np.int64)


def _by_shared_levels(table: np.ndarray, bits: int) -> tuple[np.ndarray, str, np.ndarray] | None:
    levels = np.unique(table)
    if len(levels) > 2**bits:
        return None
    return np.searchsorted(levels, table), LEVELS, levels[None]


def _by_levels(table: np.ndarray, bits: int) -> tuple[np.ndarray, str, np.ndarray] | None:
    rows = [np.unique(row) for row in table]
    longest = max(map(len, rows))
    if longest > 2**bits:
        return None
    codes = np.stack([np.searchsorted(levels, row) for levels, row in zip(rows, table, strict=True)])
    return codes, LEVELS, np.stack([np.pad(row, (0, longest - len(row)), "edge") for row in rows])


def _by_lines(table: np.ndarray, bits: int) -> tuple[np.ndarray, str, np.ndarray] | None:
    codes, lines = np.empty(table.shape, np.int64), np.empty((len(table), 3))
    for i, row in enumerate(table):
        levels, place = np.unique(row, return_inverse=True)
        if len(levels) > 2**bits or (found := _line(levels, 2**bits)) is None:
            return None
        index, (start, step) = found
        first = index.min()
        codes[i], lines[i] = (index - first)[place], (start, step, first)
    return codes, LINE, lines


def _line(levels: np.ndarray, most: int) -> tuple[np.ndarray, tuple[float, float]] | None:
    """Return whole i and a, b with float32(a + b i) equal to sorted `levels`, i in a span of `most`."""
    origin = levels[np.abs(levels).argmin()]  # 0 if it is a level: only a = 0 gives it exactly
    if len(levels) == 1:
        return np.zeros(1, np.int64), (float(origin), 0.0)
    away = levels.astype(np.float64) - float(origin)
    closest = np.diff(levels.astype(np.float64)).min()
    for divisor in range(1, MAX_DIVISOR + 1):
        place = away / (closest / divisor)
        index = np.rint(place).astype(np.int64)
        if np.abs(place - index).max() < NEARLY:
            break
    else:
        return None
    if np.ptp(index) >= most:
        return None
    line = _through(levels, index)
    start, step = line
    same = np.array_equal((start + step * index).astype(np.float32), levels)
    return (index, line) if same else None


def _through(levels: np.ndarray, index: np.ndarray) -> tuple[float, float]:
    """Return a and b of a line through all levels, as far as each lies within half a unit of its last place.

    Every pair of levels bounds the slope; the middle of what all allow, then the same for the start.
    """
    values = levels.astype(np.float64)
    low, high = (
        (values + np.nextafter(levels, np.float32(end)).astype(np.float64)) / 2 for end in (-np.inf, np.inf)
    )
    apart = index[None] - index[:, None]
    later = apart > 0
    slopes = np.where(later, apart, 1)
    least = np.where(later, (low[None] - high[:, None]) / slopes, -np.inf).max()
    most = np.where(later, (high[None] - low[:, None]) / slopes, np.inf).min()
    step = (least + most) / 2
    start = ((low - step * index).max() + (high - step * index).min()) / 2
    return float(start), float(step)
