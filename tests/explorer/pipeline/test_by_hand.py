import numpy as np
import pytest

from explorer.choices.state import ExplorerState
from explorer.pipeline import pictures, points
from explorer.tabs.points_by_hand import ByHand

LAYER = "body.1.body.0"


@pytest.fixture
def choosing():
    """Points by hand at 2 bits, and what was complained of last."""
    told = []
    state = ExplorerState(network="xlsr_x3", activation_bits=2)
    return ByHand(state, told.append), state, told


def test_points_are_snapped_and_kept(choosing):
    by_hand, state, told = choosing
    assert by_hand.place([0.9, -0.26, 0.01]) == [point * state.universal_set().step for point in state.hand]
    assert all(
        np.isclose(state.universal_set().points, p * state.universal_set().step).any() for p in state.hand
    )
    assert told[-1] == ""
    state.snap = "grid"
    assert by_hand.place([-3 / 1024, 5 / 1024]) == [-3 / 1024, 5 / 1024]
    by_hand.read("-0.5; 0,  0.5")
    assert by_hand.written() == "-0.5, 0, 0.5"
    by_hand.reset()
    assert state.hand == []
    assert by_hand.written() == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1, -0.5, 0, 0.5, 1", "2 bits allow 4 points, and these are 5"),
        ("0.5", "At least 2 points"),
        ("a few", "Type points as numbers"),
        ("0, inf", "between -1 and 1"),
        ("0, nan, 1", "between -1 and 1"),
        ("-1.5, 0", "between -1 and 1"),
    ],
)
def test_points_that_cannot_be_change_nothing(choosing, text, message):
    by_hand, state, told = choosing
    by_hand.place([-0.5, 0.5])
    before = list(state.hand)
    by_hand.read(text)
    assert message in told[-1]
    assert state.hand == before


def test_points_are_forgotten_with_what_they_were_chosen_for(choosing):
    by_hand, state, _ = choosing
    for change in (
        {"activation_bits": 3},
        {"layer": list(state.param.layer.objects)[2]},
        {"channel": 1},
        {"words": 3},
        {"selector": "kmeans"},
        {"method": "daq"},
    ):
        by_hand.place([-0.5, 0.5])
        state.param.update(**change)
        assert state.hand == [], change
    state.method, state.hand_layer = "dfsq", True
    by_hand.place([-0.5, 0.5])
    state.channel = 2
    assert len(state.hand) == 2, "they serve all channels"


def test_a_state_from_elsewhere_gives_no_points_that_cannot_be():
    state = ExplorerState(network="xlsr_x3", activation_bits=2)
    state.hand = [10**9, 5, 5, -7, 3, 2, 1]
    assert state.by_hand() == (-7, 1, 2, 3)
    state.method = "minmax"
    state.hand = [1, 2]
    assert state.by_hand() == ()


def test_error_and_picture_follow():
    state = ExplorerState(network="xlsr_x3", activation_bits=2)
    config, layer = state.configs()(2), state.layer
    best = points.points("xlsr_x3", layer, 0, config)
    step = config.universal_set.step
    same = points.points("xlsr_x3", layer, 0, config, tuple(round(p / step) for p in best.levels))
    assert same.selectors[points.BY_HAND][0] == pytest.approx(best.selectors["exact"][0])
    own = (round(-0.75 / step), 0, round(0.75 / step))
    worse = points.points("xlsr_x3", layer, 0, config, own)
    assert sorted(set(worse.levels)) == [-0.75, 0, 0.75]
    assert worse.selectors[points.BY_HAND][0] > best.selectors["exact"][0]
    assert worse.error > best.error
    where = ("xlsr_x3", state.image, "centre", config, ())
    chosen = pictures.picture(*where)
    scores = [chosen.psnr]
    for channel in (0, None):
        scores.append(pictures.picture(*where, pictures.Hand(layer, channel, own)).psnr)
    assert len(set(scores)) == 3
    kept = pictures.picture(*where[:4], (layer,), pictures.Hand(layer, None, own))
    assert kept.psnr == pictures.picture(*where[:4], (layer,)).psnr, "a float layer has no points"
