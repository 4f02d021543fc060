import json
import re
from html import escape, unescape
from urllib.parse import parse_qsl

import numpy as np
import pytest

from explorer.choices.links import restore
from explorer.choices.state import ExplorerState
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
    assert escape(lesson.question) in tour()


def test_the_tour_stays_open_on_its_way():
    assert "<details class='tour'>" in tour()
    assert "<details class='tour'>" in tour("?activation_bits=3")
    found = tour("?methods=%5B%22dfsq-exact%22%2C%22minmax%22%5D&theme=dark&tab=methods&activation_bits=3")
    assert "<details class='tour' open>" in found
    (marked,) = re.findall(r"<a href='([^']+)' aria-current=page>([^<]+)", found)
    assert marked[1] == LESSONS[1].question
    assert unescape(marked[0]) == LESSONS[1].query + "&theme=dark"
    assert found.count("theme=dark") == len(LESSONS)
    assert "<b>" not in tour("?theme=<b>")


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
    assert lost["odm"] < lost["dfsq-exact"] / 2


def test_the_clip_at_the_end():
    state = restored(LESSONS[4].query)
    plan, where = deployment.Plan.of(state), (state.image, state.region)
    clip, free = (
        deployment.outcome(plan, name, *where).picture.psnr for name in (deployment.CLIP, deployment.FREE)
    )
    assert abs(clip - free) < 0.1
