"""Elements of errors and bits by layer: their names, data and axes."""

import pytest
from drawn_elements import columns, figure, labels

from core.analysis.sensitivity import Sensitivity
from explorer.elements import layers
from explorer.pipeline.layer_costs import LayerCost
from explorer.views.drawn import Drawn

NAMES = ["conv.0", "conv.1", "conv.2"]


def test_layers():
    found = {name: Sensitivity(3.0 * n, 2.0 * n, 1.0 * n, 10.0 - n) for n, name in enumerate(NAMES, 1)}
    alone = figure(layers.alone(found, ["conv.1"]))
    tops = columns(alone)
    assert list(tops["weights"][0]) == [2, 4, 6]
    assert list(tops["only"][0]) == [3, 6, 9]
    assert list(tops["alpha"][0]) == [1, layers.PALE, 1]
    saved = figure(layers.saved(12.0, found))
    assert list(columns(saved)["saved"][0]) == [3, 4, 5]
    assert (alone.name, saved.name) == ("layers alone", "layers saved")
    assert saved.y_range.start == 0
    assert labels(saved)[1] == "error / 8-bit levels"
    assert dict(saved.xaxis[0].major_label_overrides) == dict(enumerate(NAMES, 1))


def test_bits_by_layer_and_their_curve():
    found = {"conv.0": (2, 4), "conv.1": (32, 3)}
    drawn = figure(layers.bits(found, (4, 4)))
    assert drawn.name == "layers bits"
    (weights,), (activations,) = columns(drawn)["weights"], columns(drawn)["activations"]
    assert (list(weights), list(activations)) == ([2, 32], [4, 3])
    assert (drawn.y_range.start, drawn.y_range.end) == (0, 8.8)
    allocated, uniform = [(80, 30.5, "budget 80 %")], [(100, 31.0, "W4A4"), (56, 29.0, "W3A3")]
    drawn = figure(layers.budgets(allocated, uniform, "mse"))
    assert [list(x) for x in columns(drawn)["budget"]] == [[80], [80], [56, 100], [56, 100]], "ascending"
    assert figure(layers.budgets([], [], "mse")).name == "layers budgets"


def test_axes_follow_what_a_figure_is_drawn_of():
    drawn = Drawn(layers.alone, 200)
    few, many = (
        {f"conv.{i}": Sensitivity(*[error] * 4) for i in range(n)} for n, error in ((3, 1.0), (30, 2.0))
    )
    drawn.show(few)
    drawn.panel.get_root()
    shown = drawn.figure
    for found, high, ticks in ((many, 2.16, list(range(4, 31, 4))), (few, 1.08, [1, 2, 3])):
        drawn.show(found)
        assert drawn.figure is shown
        assert (shown.x_range.end, shown.y_range.end) == (len(found) + 0.6, pytest.approx(high))
        assert list(shown.xaxis[0].ticker.ticks) == ticks


def test_what_a_float_layer_costs():
    found = {name: LayerCost(2.0, 1.0 * n, 10.0, 40.0) for n, name in enumerate(NAMES, 1)}
    slower, larger = figure(layers.slower(found, ["conv.0"])), figure(layers.larger(found))
    assert list(columns(slower)["slower"][0]) == [-1, 0, 1]
    assert list(columns(slower)["alpha"][0]) == [layers.PALE, 1, 1]
    assert list(columns(larger)["larger"][0]) == [30, 30, 30]
    assert (labels(slower)[1], labels(larger)[1]) == ("time / ms", "weights / KiB")
    assert slower.y_range.start < 0 < slower.y_range.end
    assert larger.y_range.start == 0
