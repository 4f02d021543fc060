"""What a visitor's choices make of each tab, without a browser."""

import html
import itertools
import re

import numpy as np
import pytest
from headless import Visitor

from core.zoo import model_card
from explorer.choices.catalog import NETWORKS

# A test takes seconds, and those of a worker share what is computed.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tabs")]


def levels(visitor) -> list[float]:
    return list(visitor.data("histogram", 1)["x"])


def picture(visitor, name: str) -> np.ndarray:
    return np.asarray(visitor.data(name)["image"][0])


def test_every_method_has_its_levels_and_picture():
    visitor = Visitor(network="xlsr_x3", compared_bits=[4])
    for method in ("minmax", "percentile", "dfsq+", "mse-channel", "log2", "daq"):
        points, sr = levels(visitor), picture(visitor, "picture 4")
        visitor.choose(method=method)
        found = levels(visitor)
        assert found != points, method
        assert not np.array_equal(picture(visitor, "picture 4"), sr), method
        assert len(set(found)) == 16, method
        if method in ("minmax", "percentile"):
            steps = [b - a for a, b in itertools.pairwise(found)]
            assert max(steps) - min(steps) < 2e-4, method
        assert visitor.count("441 points with doubles, grid") == (method == "dfsq+")


@pytest.mark.parametrize("key", NETWORKS)
def test_every_view_works_with_every_network(key):
    name, scale = NETWORKS[key]
    visitor = Visitor(compared_bits=[4])
    visitor.choose(network=key)
    assert not visitor.session.status.errors
    assert visitor.count(re.escape(model_card(name, scale)["about"])) == 1
    assert picture(visitor, "heat map").size > 50
    assert len(levels(visitor)) == 16
    assert len(visitor.data("mismatch of deviations")["rank"]) > 5
    side = min(128, 504 // scale)  # the photograph has 504 pixels
    assert visitor.data("picture 4")["dw"] == [side * scale]
    assert visitor.count(r"\d+\.\d\d dB · SSIM 0\.\d{3}") >= 3


def test_too_small_a_set_is_said_in_a_sentence():
    said = "4 bits need 16 points but the universal set of words=1, terms=3 has 5"
    visitor = Visitor(network="xlsr_x3", words=1, terms=3, tab="layers")
    assert visitor.count(said) == 1
    visitor.choose(tab="explore")
    assert levels(visitor) == []
    assert visitor.data("picture 4")["image"] == visitor.data("right")["image"] == []
    assert visitor.count(said) >= 1
    assert visitor.count(r"\d\d\.\d\d dB · SSIM") >= 3, "the pictures that need fewer points are still shown"


# Methods


def rows(visitor, text: str) -> list[list[str]]:
    """The cells, row by row, of the table beside which the text stands."""
    shown = [str(getattr(pane, "object", "")) for pane in visitor.page.select()]
    table = next(markup for markup in shown if text in markup and "<tr" in markup)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr.*?</tr>", table, re.S)]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells if row]


def scores(visitor) -> dict[str, list[str]]:
    """Method -> the numbers of its row in the table."""
    return {name.split()[0]: numbers for name, *numbers in rows(visitor, "PSNR / dB")}


def test_methods_at_the_same_bits():
    methods = ["dfsq-exact", "dfsq+", "minmax", "percentile"]
    visitor = Visitor(network="xlsr_x3", tab="methods", methods=methods, activation_bits=3)
    for name in methods:
        assert picture(visitor, f"method {name}").size > 50
        assert picture(visitor, f"error {name}").size > 50
    found = scores(visitor)
    assert list(found) == ["Float", *methods]
    assert float(found["dfsq+"][0]) > float(found["minmax"][0])
    lines = [renderer.data_source.data["y"] for renderer in visitor.figure("profile").renderers]
    assert len(lines) == 6
    assert all(len(line) == 64 for line in lines)
    before = picture(visitor, "method dfsq-exact")
    visitor.choose(activation_bits=6)
    assert not np.array_equal(picture(visitor, "method dfsq-exact"), before)
    assert visitor.count("dfsq-exact W6A6") >= 1


def test_a_method_that_cannot_be_says_why():
    visitor = Visitor(tab="methods", methods=["odm", "dfsq-exact"], activation_bits=3)
    assert visitor.count("odm was trained at W2A2 and W4A4") == 1
    assert list(scores(visitor)) == ["Float", "dfsq-exact"]


def test_what_each_ingredient_is_worth():
    visitor = Visitor(tab="methods", methods=["minmax"], activation_bits=4)
    table = rows(visitor, "worth?")
    assert [html.unescape(row[0]) for row in table[2:]] == [
        "per channel and image (DFSQ's)",
        "per block of 8×8",
    ]
    numbers = [[float(cell) for cell in row[1:]] for row in table]
    assert numbers[3][2] > numbers[0][2] + 0.4, "blocks have their price"
    assert numbers[0][0] < numbers[0][1], "points are worth something with one range a layer"


# Layers


def test_more_bits_hurt_less():
    visitor = Visitor(network="xlsr_x3", tab="layers", method="minmax", activation_bits=3)
    worse = visitor.data("layers alone")["only"]
    visitor.choose(activation_bits=5)
    assert sum(visitor.data("layers alone")["only"]) < sum(worse)


def test_a_trained_method_has_no_layer_by_itself():
    visitor = Visitor(tab="layers", method="odm", activation_bits=2)
    assert visitor.count("the layers of odm were trained together; choose a calibrated method") == 1


def test_a_trained_network_among_the_methods():
    visitor = Visitor(method="odm", activation_bits=2, compared_bits=[2, 3])
    assert picture(visitor, "picture 2").size > 50
    assert visitor.count("odm was trained at W2A2") >= 1, "there is none at 3 bits"
    assert visitor.count("learned in training") == 1
    visitor.choose(network="xlsr_x3")
    assert visitor.state.method.startswith("dfsq")


# Sweep

PLOTS = ("sweep bits", "sweep sets", "sweep cost", "sweep table")


def drawn(visitor, *names: str) -> list:
    return [repr([r.data_source.data for r in visitor.figure(name).renderers]) for name in names]


def test_plots_follow_their_choices():
    visitor = Visitor(tab="sweep")
    choices = visitor.visit.made["sweep"].sweeper.choices
    before = drawn(visitor, *PLOTS)
    choices.cost = "gbitops"
    visitor.settle()
    assert drawn(visitor, "sweep cost") != before[2:3]
    before = drawn(visitor, "sweep table")
    choices.across = "set_size"
    visitor.settle()
    assert drawn(visitor, "sweep table") != before
    before = drawn(visitor, *PLOTS)
    choices.shown_image = "chelsea the cat (scikit-image)"
    visitor.settle()
    assert all(a != b for a, b in zip(before, drawn(visitor, *PLOTS), strict=True))


def test_the_preview_follows_the_grid():
    visitor = Visitor(tab="sweep")
    sweeper = visitor.visit.made["sweep"].sweeper

    def ahead() -> str:
        visitor.settle()
        return sweeper.ahead

    assert ahead().startswith("18 of at most 5,000 rows, about ")
    sweeper.choices.methods = [m for m in sweeper.choices.methods if m != "minmax"]
    assert ahead().startswith("12 of at most 5,000 rows, about ")
    sweeper.choices.images = sweeper.choices.images[:1]
    assert ahead().startswith("6 of at most 5,000 rows, about ")
    sweeper.choices.images = []
    visitor.settle()
    assert visitor.count("Choose at least one image.") == 1


@pytest.mark.parametrize(
    ("title", "said"), [("../other", "A sweep's name has"), ("bundled", "stays as it is")]
)
def test_names_that_cannot_be(title, said):
    visitor = Visitor(tab="sweep")
    visitor.visit.made["sweep"].sweeper.choices.title = title
    visitor.visit.made["sweep"].sweeper.start()
    visitor.settle()
    assert visitor.count(f"(?i){said}") == 1


def test_a_sweep_that_is_not_there():
    visitor = Visitor(tab="sweep", sweep="nobody")
    assert visitor.count("There is no sweep named nobody") == 1
    assert len(visitor.data("sweep bits")["psnr"]) == 0
