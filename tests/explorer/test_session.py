"""One visitor without a browser, and what is there before the first one comes."""

import time

import pytest

from explorer.choices.state import ExplorerState
from explorer.jobs.latest import QUICK, SLOW
from explorer.pipeline import activations, pictures, points
from explorer.pipeline.warm_up import warm_up
from explorer.visit import Visit

COMPUTED = (
    activations.activations,
    activations.calibration,
    activations.distribution,
    activations.mismatch,
    points.points,
    points.selection,
    pictures.picture,
    pictures.quantized,
)


def at_rest() -> bool:
    return QUICK.idle and SLOW.idle


def until(condition):
    end = time.monotonic() + 900
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_once_warm_the_first_visitor_finds_everything_computed():
    warm_up()
    until(at_rest)
    before = {f.__name__: dict(f.cache) for f in COMPUTED}
    assert all(before.values())
    visitor = Visit(ExplorerState())
    visitor.session.start()
    until(at_rest)
    assert not visitor.session.status.errors
    assert "16 points" in visitor.made["explore"].points.view.title.object
    for f in COMPUTED:
        assert f.cache.keys() == before[f.__name__].keys(), f.__name__
        assert all(f.cache[key] is value for key, value in before[f.__name__].items()), f.__name__
