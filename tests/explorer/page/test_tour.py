import json
from html import escape
from urllib.parse import parse_qsl

import numpy as np
import panel as pn
import pytest

from explorer.choices.state import ExplorerState
from explorer.choices.url import restore
from explorer.page.tour import LESSONS, tour
from explorer.pipeline import activations, deployment, pictures


def restored(query: str) -> ExplorerState:
    state = ExplorerState()
    restore(state, query)
    for name, text in parse_qsl(query.removeprefix("?"), strict_parsing=True):
        value = getattr(state, name)
        assert text == (
            json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)
        ), "it is there"
    return state


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.question)
def test_links_hold_states_that_are_there(lesson):
    restored(lesson.query)


def text(card) -> str:
    return card.select(pn.pane.HTML)[0].object


def test_the_questions_follow_one_another_and_leave_the_rest_as_it_is():
    state = ExplorerState(image="chelsea the cat (scikit-image)", words=3)
    card = tour(state)
    ahead, back = card.select(pn.widgets.Button)
    assert text(card).startswith("<p><b>Try:</b>")
    assert not back.visible
    for number, lesson in enumerate(LESSONS, 1):
        ahead.clicks += 1
        assert f"Question {number} of 5" in text(card)
        assert escape(lesson.question) in text(card)
        for name, value in parse_qsl(lesson.query.removeprefix("?")):
            shown = getattr(state, name)
            assert str(shown) == value or json.loads(value.replace("'", '"')) == shown
    assert (state.image, state.words) == ("chelsea the cat (scikit-image)", 3)
    back.clicks += 1
    assert state.lesson == 4
    ahead.clicks += 1
    ahead.clicks += 1
    assert state.lesson == 0


def scores(state):
    where, bits = (state.network, state.image, state.region), state.activation_bits
    asked = {name: (state.configs(name)(bits),) for name in state.methods} | {"float": ("float",)}
    return {name: pictures.picture(*where, *what).psnr for name, what in asked.items()}


def test_the_spread_of_channels():
    state = restored(LESSONS[0].query)
    reach = activations.distribution(state.network, state.layer).spread[:, 1]
    assert reach.max() > 4 * reach.min()


def test_chosen_points_against_equal_steps():
    found = scores(restored(LESSONS[1].query))
    assert found["dfsq-exact"] - found["minmax"] > 3


def test_the_layer_to_keep_float():
    state = restored(LESSONS[2].query)
    where = (state.network, state.image, state.region)
    _, found = pictures.sensitivity(*where, state.configs()(state.activation_bits))
    names, harm = list(found), [layer.only for layer in found.values()]
    assert np.argmax(harm) == 0
    assert names[0] == state.layer


def test_training_at_two_bits():
    found = scores(restored(LESSONS[3].query))
    lost = {name: found["float"] - psnr for name, psnr in found.items()}
    assert lost["dfsq-exact"] > 2.5
    assert lost["odm"] < lost["dfsq-exact"] / 4


def test_the_clip_at_the_end():
    state = restored(LESSONS[4].query)
    plan, where = deployment.Plan.of(state), (state.image, state.region)
    clip, free = (
        deployment.outcome(plan, name, *where).picture.psnr for name in (deployment.CLIP, deployment.FREE)
    )
    assert abs(clip - free) < 0.1
