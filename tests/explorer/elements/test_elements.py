"""Every element is drawn by Bokeh without a warning, under its name, and holds the data that it should."""

import types

import holoviews as hv
import numpy as np
import pytest
from bokeh.models import GlyphRenderer, Legend, Plot

from core.analysis.mismatch import Mismatch
from core.analysis.sensitivity import Sensitivity
from explorer.elements import charts, deployment, distributions, layers, methods, pictures, sweep, training
from explorer.elements import mismatch as mismatches
from explorer.elements import points as pts
from explorer.elements.colors import ACCENT, METHOD_COLORS, NEUTRAL, SELECTOR_COLORS
from explorer.pipeline.activations import Distribution
from explorer.pipeline.deployment import Outputs
from explorer.pipeline.method_comparison import Inspection, MethodResult
from explorer.pipeline.pictures import Picture
from explorer.pipeline.points import Points
from explorer.pipeline.sweep_rows import Shown, Table, enough
from explorer.views.drawn import Drawn
from explorer.views.sweep import nearest

NAMES = ["conv.0", "conv.1", "conv.2"]


def figures(element) -> dict[str, Plot]:
    """What Bokeh draws, by name."""
    drawn = hv.renderer("bokeh").get_plot(element).state
    found = [drawn] if isinstance(drawn, Plot) else list(drawn.select({"type": Plot}))
    return {figure.name: figure for figure in found}


def figure(element) -> Plot:
    (found,) = figures(element).values()
    return found


def columns(figure) -> dict[str, list]:
    """Name of a column -> the values of each source of the figure that has it, in the order of drawing."""
    found = {}
    for renderer in (r for r in figure.renderers if isinstance(r, GlyphRenderer)):
        for name, values in renderer.data_source.data.items():
            found.setdefault(name, []).append(values)
    return found


def labels(figure) -> tuple[str, str]:
    return figure.xaxis[0].axis_label, figure.yaxis[0].axis_label


@pytest.fixture
def distribution() -> Distribution:
    counts = np.array([[0, 5, 5, 0], [1, 4, 4, 1], [0, 10, 0, 0]])
    low, mean, high = (np.full((3, 2), value) + np.arange(3)[:, None] for value in (-4.0, 0.0, 3.0))
    spread = np.array([[1, 2, 3], [4, 5, 6], [2, 3, 4]], float)
    return Distribution("conv.1", np.linspace(-2, 2, 5), counts, low, high, mean, spread, False)


@pytest.fixture
def points() -> Points:
    selectors = {"exact": (0.5, 0.25), "kmeans": (1.0, 0.25), "greedy": (0.75, 0.5)}
    return Points(
        "dfsq-exact", 7, "normalized activation", np.linspace(-1, 1, 9), np.array([0, 1, 5, 20, 30, 4, 1, 0]),
        np.array([-0.5, 0.0, 0.0, 0.25]), 3, 3, np.linspace(-1, 1, 17), 0.5, 20.0, selectors, True,
        (None, None, None),
    )  # fmt: skip


def test_heat_map(distribution):
    drawn = figure(distributions.heat_map(distribution, 1))
    (image,) = columns(drawn)["image"]
    # Bokeh draws the first row at the bottom: channel 0.
    np.testing.assert_array_equal(image[0], distribution.counts)
    assert drawn.name == "heat map"
    assert labels(drawn) == ("activation", "channel")
    assert (drawn.y_range.start, drawn.y_range.end) == (-0.5, 2.5)
    assert drawn.title.text == "conv.1 (signed)"


def test_spread_puts_the_widest_channel_first(distribution):
    drawn = figure(distributions.spread(distribution, 2))
    found = columns(drawn)
    assert list(found["channel"][0]) == [1, 2, 0]
    assert list(found["middle"][0]) == [5, 3, 2]
    assert list(found["color"][0]) == [NEUTRAL, ACCENT, NEUTRAL]
    assert drawn.name == "spread"
    assert labels(drawn)[1] == "max |x − mean| per image"


def test_by_image(distribution):
    drawn = figure(distributions.by_image(distribution, 2))
    found = columns(drawn)
    assert list(found["low"][0]) == [-2, -2]
    assert list(found["high"][0]) == [5, 5]
    assert list(found["mean"][0]) == [2, 2]
    assert drawn.name == "by image"
    assert labels(drawn)[0] == "calibration image"


def test_histogram_with_levels_and_staircase(points):
    layout = pts.histogram(points) * pts.candidates(points) * pts.levels(points) + pts.staircase(points)
    found = figures(layout)
    assert set(found) == {"histogram", "staircase"}
    histogram, staircase = found["histogram"], found["staircase"]
    values = columns(histogram)
    assert list(values["top"][0]) == list(points.counts)
    assert min(np.min(bottom) for bottom in values["bottom"]) > 0, "a logarithmic axis has no 0"
    assert any(np.array_equal(x, points.levels) for x in values["x"])
    assert any(np.array_equal(x, points.candidates) for x in values["x"])
    assert labels(histogram) == ("normalized activation", "activations (log)")
    assert (histogram.y_range.start, histogram.y_range.end) == (0.5, 60)
    assert (histogram.x_range.start, histogram.x_range.end) == (-1, 1)
    assert labels(staircase) == ("normalized activation", "Q(x)")


def test_staircase_steps_at_the_middles(points):
    (x,), (q,) = (columns(figure(pts.staircase(points)))[name] for name in ("x", "q"))
    for value, level in ((-1, -0.5), (-0.26, -0.5), (-0.24, 0), (0.12, 0), (0.13, 0.25), (1, 0.25)):
        # The step that the value lies on: the last corner that is not right of it.
        assert q[np.searchsorted(x, value, "right") - 1] == level


def test_errors_of_the_selectors(points):
    drawn = figure(pts.errors(points))
    found = columns(drawn)
    assert dict(zip(found["bar"][0], found["ratio"][0], strict=True)) == {
        "exact, channel": 1, "kmeans, channel": 2, "greedy, channel": 1.5,
        "exact, layer": 1, "kmeans, layer": 1, "greedy, layer": 2,
    }  # fmt: skip
    colors = dict(zip(found["bar"][0], found["color"][0], strict=True))
    assert colors["kmeans, layer"] == SELECTOR_COLORS["kmeans"]
    assert drawn.y_range.factors[-1] == "exact, channel", "the first is on top"


def test_mismatch():
    found = {name: Mismatch(0.1 * n, 0.2 * n, 0.3 * n, 0.4 * n) for n, name in enumerate(NAMES, 1)}
    drawn = figure(mismatches.mismatch(found, "deviation", "conv.1"))
    values = columns(drawn)
    np.testing.assert_allclose(values["deviation_channels"][0], [0.3, 0.6, 0.9])
    np.testing.assert_allclose(values["deviation_images"][0], [0.4, 0.8, 1.2])
    assert NAMES in [list(layer) for layer in values["layer"]]
    assert drawn.name == "mismatch of deviations"
    assert labels(drawn) == (
        "quantized layer",
        "spread / deviation",
    )
    assert [item.label.value for item in drawn.select_one(Legend).items] == [
        "across channels",
        "across images",
    ]


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


@pytest.fixture
def card() -> dict:
    shots = [
        {"step": step, "histograms": dict.fromkeys(NAMES, values)}
        for step, values in ((None, [1, 2, 1]), (0, [4, 2, 2]), (10, [0, 2, 2]))
    ]
    by_layer = {field: [[1, 2, 3], [4, 5, 6]] for field in ("mismatch", "cosine", "conflict", "low", "high")}
    psnr = {"step": [0, 10], "psnr_y": [30.0, 31.0]}
    spans = dict.fromkeys(NAMES, (-1.0, 2.0))
    record = by_layer | {
        "layers": NAMES, "step": [0, 10], "psnr": psnr, "snapshots": shots, "spans": spans
    }  # fmt: skip
    return {"record": record, "steps": 10, "version": "v2"}


@pytest.mark.parametrize("kind", training.CURVES, ids=lambda kind: kind.field)
def test_curves_of_a_training(kind, card):
    drawn = figure(training.curve(kind, card, "conv.2", 5))
    values = [list(v) for v in columns(drawn)["value"]]
    assert ([3, 6] if kind.by_layer else [30, 31]) in values
    assert drawn.name == f"curve {kind.field}"
    assert labels(drawn) == ("step", kind.label)
    if kind.by_layer:
        (paths,) = columns(drawn)["ys"]
        assert [list(path) for path in paths] == [[1, 4], [2, 5], [3, 6]]


def test_what_a_layer_receives_in_training(card):
    drawn = figure(training.received(card, "conv.1", 9))
    shares = [list(top) for top in columns(drawn)["top"]]
    assert shares.count([0, 0.5, 0.5]) == 2, "now and at the end, the same step"
    assert drawn.title.text == "Input of conv.1"
    assert len(drawn.select_one(Legend).items) == 3


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


def test_outputs():
    counts, edges = np.array([0, 3, 100, 2]), np.linspace(-0.5, 1.5, 5)
    range = types.SimpleNamespace(low=0.1, high=1.3, given=None)
    drawn = figure(deployment.outputs(Outputs(edges, counts, range)))
    values = columns(drawn)
    assert list(counts) in [list(top) for top in values["top"]]
    assert np.min(values["bottom"][-1]) > 0, "a logarithmic axis has no 0"
    levels = next(x for x in values["x"] if len(x) == deployment.LEVELS)
    assert (levels[0], levels[-1]) == (0, 1.3), "the range holds 0"
    assert drawn.name == "outputs"
    assert drawn.y_range.start == 0.5


def test_profile():
    seen = Picture(np.zeros((8, 8, 3), np.uint8), 30.0, 0.9)
    found = {
        key: MethodResult(seen, None, None, None, None, np.arange(8.0) + n)
        for n, key in enumerate(("hr", "mse"))
    }
    drawn = figure(methods.profile(found, {"hr": "HR", "mse": "mse, W4A4"}, Inspection()))
    found = columns(drawn)
    assert list(found["y"][0]) == list(np.arange(8.0))
    assert [list(y) for y in found["ys"][0]] == [list(np.arange(8.0) + 1)]
    assert list(found["color"][0]) == [METHOD_COLORS["mse"]]
    assert drawn.name == "profile"
    assert labels(drawn) == ("pixel (dashed: HR)", "luma / 8-bit levels")
    assert drawn.title.text == "Luma along row 4"


def test_picture_and_its_difference():
    rgb = np.zeros((4, 8, 3), np.uint8)
    rgb[0, 0] = 255
    seen = figures(
        pictures.picture(Picture(rgb, None, None), "HR", 200) + pictures.difference(rgb[..., 0], "x", 200)
    )
    assert set(seen) == {"picture HR", "error x"}
    one, other = seen["picture HR"], seen["error x"]
    assert (one.frame_width, one.frame_height) == (200, 100)
    (image,) = columns(one)["image"]
    assert image[0][-1, 0] == 0xFFFFFFFF, "the first row is on top"
    assert one.x_range is other.x_range, "they zoom together"


def test_lines_and_bars():
    drawn = figure(charts.lines({"mse": ([2, 4], [3, 1]), "other": ([2, 4], [2, 2])}, "A", "bits", "dB"))
    assert drawn.name == "A"
    assert labels(drawn) == ("bits", "dB")
    assert [item.label.value for item in drawn.select_one(Legend).items] == ["mse", "other"]
    bars = figure(charts.bars({"exact": 1.0, "kmeans": 2.0}, "B", "ms"))
    (colors,) = columns(bars)["color"]
    assert list(colors) == [SELECTOR_COLORS["kmeans"], SELECTOR_COLORS["exact"]]
    assert bars.y_range.factors == ["kmeans", "exact"], "the first on top"
    assert bars.x_range.start == 0
    assert labels(bars)[0] == "ms"


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


def test_the_loss_of_a_tuning():
    losses = [(step, 1 / step) for step in range(1, 41)]
    drawn = figure(training.loss(losses, 100, "mse W4A4", "#123456"))
    (loss,), (mean,) = columns(drawn)["loss"], columns(drawn)["mean"]
    assert (len(loss), len(mean), drawn.x_range.end) == (40, 21, 100)
    assert mean[0] == pytest.approx(np.mean(loss[:20]))


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
