"""Elements of pictures, their profile, a network's outputs, and plain charts: names, data and axes."""

import types

import numpy as np
from bokeh.models import Legend
from drawn_elements import columns, figure, figures, labels

from explorer.elements import charts, deployment, methods, pictures
from explorer.elements.colors import METHOD_COLORS, SELECTOR_COLORS
from explorer.pipeline.deployment import Outputs
from explorer.pipeline.method_comparison import Inspection, MethodResult
from explorer.pipeline.pictures import Picture


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
