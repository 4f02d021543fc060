"""What a visitor's choices make of the tab Explore, without a browser."""

import itertools
import re

import numpy as np
import panel as pn
import pytest
from headless import Visitor

from core.zoo import model_card
from explorer.choices.catalog import NETWORKS
from explorer.elements import distributions

pytestmark = pytest.mark.slow


def test_every_method_has_its_levels_and_picture():
    visitor = Visitor(network="xlsr_x3", compared_bits=[4])
    for method in ("minmax", "percentile", "dfsq+", "mse-channel", "log2", "daq"):
        points, sr = visitor.levels(), visitor.picture("picture 4")
        visitor.choose(method=method)
        found = visitor.levels()
        assert found != points, method
        assert not np.array_equal(visitor.picture("picture 4"), sr), method
        assert len(set(found)) == 16, method
        if method in ("minmax", "percentile"):
            steps = [b - a for a, b in itertools.pairwise(found)]
            assert max(steps) - min(steps) < 2e-4, method
        doubled = "Universal set: 441 points, doubled"
        assert any(w.label == doubled for w in visitor.page.select(pn.widgets.Toggle)) == (method == "dfsq+")


@pytest.mark.parametrize("key", NETWORKS)
def test_every_view_works_with_every_network(key):
    name, scale = NETWORKS[key]
    visitor = Visitor(compared_bits=[4], references=["bicubic", "float"], details=["mismatch"])
    visitor.choose(network=key)
    assert not visitor.session.status.errors
    assert visitor.count(re.escape(model_card(name, scale)["about"])) == 1
    assert visitor.picture("heat map").size > 50
    assert len(visitor.levels()) == 16
    assert len(visitor.column("mismatch of deviations", "rank")) > 5
    assert len(visitor.column("strip", "layer")) > 5
    side = min(128, 504 // scale)  # the photograph has 504 pixels
    assert visitor.data("picture 4")["dw"] == [side * scale]
    assert visitor.count(r"\d+\.\d\d dB · SSIM 0\.\d{3}") >= 3


def test_too_small_a_set_is_said_in_a_sentence():
    said = "4 bits need 16 points but the universal set of words=1, terms=3 has 5"
    references = ["bicubic", "float"]
    visitor = Visitor(network="xlsr_x3", words=1, terms=3, tab="layers", references=references)
    assert visitor.count(said) == 1
    visitor.choose(tab="explore")
    assert visitor.levels() == []
    assert visitor.data("picture 4")["image"] == []
    assert visitor.count(said) >= 1
    assert visitor.count(r"\d\d\.\d\d dB · SSIM") >= 3, "the pictures that need fewer points are still shown"


def test_another_channel_moves_the_frame_of_the_heat_map_alone(monkeypatch):
    visitor, drawn = Visitor(network="edsr_x2"), []
    image, whole = visitor.picture("heat map"), distributions.heat_map
    monkeypatch.setattr(distributions, "heat_map", lambda *asked: drawn.append(asked) or whole(*asked))
    visitor.choose(channel=5)
    assert visitor.column("heat map", "edge") == [4.5, 5.5]
    np.testing.assert_array_equal(visitor.picture("heat map"), image)
    assert not drawn
    visitor.choose(layer=visitor.state.param.layer.objects[3])
    assert drawn
    assert not np.array_equal(visitor.picture("heat map"), image)
    visitor.choose(channel=7)
    assert visitor.column("heat map", "edge") == [6.5, 7.5]
    assert len(drawn) == 1, "the figure of the new layer is kept too"
