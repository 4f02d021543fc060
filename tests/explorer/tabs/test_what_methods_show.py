"""What a visitor's choices make of the tab Methods, without a browser."""

import html

import numpy as np
import pytest
from headless import Visitor

from explorer.views import methods

pytestmark = pytest.mark.slow


def scores(visitor) -> dict[str, list[str]]:
    """Method -> the numbers of its row in the table."""
    return {name.strip("■ ").split()[0]: numbers for name, *numbers in visitor.rows("PSNR / dB")}


def test_methods_at_the_same_bits():
    names = ["dfsq-exact", "dfsq+", "minmax", "percentile"]
    visitor = Visitor(network="xlsr_x3", tab="methods", methods=names, activation_bits=3)
    for name in names:
        assert visitor.picture(f"method {name}").size > 50
    found = scores(visitor)
    assert list(found) == ["Float", *names]
    assert float(found["dfsq+"][0]) > float(found["minmax"][0])
    first, *others = visitor.column("profile", "xs")
    assert len(others) == 4
    assert len(first) == len(visitor.column("profile", "y")) == 64
    assert len(set(visitor.column("profile", "color"))) == 5
    before = visitor.picture("method dfsq-exact")
    visitor.choose(activation_bits=6)
    assert not np.array_equal(visitor.picture("method dfsq-exact"), before)
    assert visitor.count("dfsq-exact W6A6") >= 1


def test_one_method_is_large_beside_the_truth_or_its_difference():
    visitor = Visitor(network="xlsr_x3", tab="methods", methods=["minmax", "mse"], activation_bits=3)

    def large() -> np.ndarray:
        return visitor.picture("method large")

    np.testing.assert_array_equal(large(), visitor.picture("method minmax"))
    np.testing.assert_array_equal(visitor.picture("method beside"), visitor.picture("method hr"))
    visitor.tap("method mse", 10, 10)
    assert visitor.state.large == "mse"
    np.testing.assert_array_equal(large(), visitor.picture("method mse"))
    visitor.press("minmax")
    assert visitor.state.large == "minmax"
    visitor.choose(beside="difference")
    error = np.abs(rgb(large()).astype(int) - rgb(visitor.picture("method hr"))).mean(2)
    np.testing.assert_array_equal(rgb(visitor.picture("method beside")), methods.heat(error))
    visitor.tap("method large", 20, 30)
    assert visitor.state.spot == [20, large().shape[0] - 30]
    visitor.choose(box=[10, 10, 60, 60])
    assert len(scores(visitor)["mse"]) == 5, "the region's scores beside those of the whole picture"
    visitor.choose(methods=["mse"])
    np.testing.assert_array_equal(large(), visitor.picture("method mse"))


def rgb(packed: np.ndarray) -> np.ndarray:
    return packed.view(np.uint8).reshape(*packed.shape, 4)[..., :3]


def test_a_method_that_cannot_be_says_why():
    visitor = Visitor(tab="methods", methods=["odm", "dfsq-exact"], activation_bits=3)
    assert visitor.count("odm is bundled at W2A2 and W4A4") == 1
    assert list(scores(visitor)) == ["Float", "dfsq-exact"]


def test_what_each_ingredient_is_worth():
    visitor = Visitor(tab="methods", methods=["minmax"], activation_bits=4)
    table = visitor.rows("worth?")
    assert [html.unescape(row[0]) for row in table[2:]] == [
        "per channel and image (DFSQ's)",
        "per block of 8×8",
    ]
    numbers = [[float(cell) for cell in row[1:]] for row in table]
    assert numbers[3][2] > numbers[0][2] + 0.4, "blocks have their price"
    assert numbers[0][0] < numbers[0][1], "points are worth something with one range a layer"
