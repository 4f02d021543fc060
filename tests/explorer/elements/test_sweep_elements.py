"""Elements of sweeps: their names, data and axes."""

import numpy as np
import pytest
from drawn_elements import columns, figure, labels

from explorer.elements import sweep
from explorer.elements.colors import METHOD_COLORS
from explorer.pipeline.sweep_rows import Shown, Table, enough
from explorer.views.sweep import nearest

NAMES = ["conv.0", "conv.1", "conv.2"]


@pytest.fixture
def shown() -> Shown:
    dots = {
        "method": ["minmax", "mse", "mse"], "activation_bits": [4, 4, 8], "set_size": [np.nan, 107, 377],
        "psnr": [30.0, 33.0, 20.0], "label": ["a", "b", "c"], "number": [2, 2, 2],
    }  # fmt: skip
    dots |= {field: [10.0, 20.0, 40.0] for field in sweep.COST_NAMES}
    front = {field: ([10.0, 20.0], [30.0, 33.0]) for field in sweep.COST_NAMES}
    lines = {"minmax": ([4], [30.0]), "mse": ([4, 8], [33.0, 20.0])}
    by_set = [("mse", 4, [107, 377], [31.0, 33.0])]
    return Shown(["edsr"], ["cat"], "edsr", "cat", dots, lines, by_set, front, {}, "")


def test_sweep_by_bits_and_cost(shown):
    bits = figure(sweep.by_bits(shown))
    values = columns(bits)
    assert [4, 4, 8] in [list(x) for x in values["activation_bits"]]
    assert [METHOD_COLORS[m] for m in shown.dots["method"]] in [list(x) for x in values["color"]]
    assert bits.y_range.start > 20, "what is far worse than the best is not drawn"
    cost = figure(sweep.by_cost(shown, "kib"))
    assert [10, 20, 40] in [list(x) for x in columns(cost)["kib"]]
    assert (bits.name, cost.name) == ("sweep bits", "sweep cost")
    assert labels(bits) == ("bits of the activations", "PSNR / dB")


def test_the_dot_next_to_a_tap(shown):
    kind = sweep.by_cost
    assert nearest(kind, shown, "kib", 10.1, 30.1) == 0
    assert nearest(kind, shown, "kib", 19.9, 33.0) == 1
    assert nearest(kind, shown, "kib", 15.0, 31.5) is None
    assert nearest(sweep.by_set, shown, "kib", 107, 33.0) == 1
    assert nearest(sweep.by_bits, shown, "kib", 4.0, 29.95) == 0


def test_the_smallest_set_that_is_enough():
    lines = [("mse", 4, [9, 29, 107], [30.0, 30.95, 31.0]), ("dfsq", 4, [377], [30.0])]
    assert enough(lines, 0.1) == {"mse": {4: 29}}


def test_sweep_by_the_size_of_the_set(shown):
    drawn = figure(sweep.by_set(shown))
    assert ["  4 bits"] in [list(text) for text in columns(drawn)["label"]]
    assert type(drawn.x_scale).__name__ == "LogScale"
    assert drawn.name == "sweep sets"


def test_sweep_table():
    cells = {"x": ["2", "4", "2", "4"], "y": ["a", "a", "b", "b"], "value": [1.0, 2.0, np.nan, 4.0]}
    data = Table(["2", "4"], ["a", "b"], cells | {"number": [1, 1, 0, 2]})
    drawn = figure(sweep.table(data, "bits", "method", "PSNR / dB"))
    assert drawn.x_range.factors == ["2", "4"]
    assert drawn.y_range.factors == ["b", "a"], "the first on top"
    texts = next(text for text in columns(drawn)["text"])
    assert sorted(texts) == ["", "1.00", "2.00", "4.00"]
    assert drawn.name == "sweep table"
    assert labels(drawn) == ("bits", "method")
