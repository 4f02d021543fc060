"""Elements of what a layer receives and of the points chosen for it: their names, data and axes."""

import numpy as np
import pytest
from bokeh.models import Legend
from drawn_elements import columns, figure, figures, labels

from core.analysis.mismatch import Mismatch
from explorer.elements import distributions
from explorer.elements import mismatch as mismatches
from explorer.elements import points as pts
from explorer.elements.colors import ACCENT, NEUTRAL, SELECTOR_COLORS
from explorer.pipeline.activations import Distribution
from explorer.pipeline.points import Points

NAMES = ["conv.0", "conv.1", "conv.2"]


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
