"""The same networks by the functions that the page shows them with."""

import numpy as np
import pytest
from strangers import STRANGERS, stranger

from core.images import demo_names
from explorer.choices.file_reading import checked
from explorer.choices.region import CENTRE, WHOLE
from explorer.choices.sources import hold, release
from explorer.choices.state import ExplorerState
from explorer.pipeline import activations, deployment, pictures, points
from explorer.views.canvas import Window
from explorer.views.format import of_tiles
from explorer.views.tile import Tile

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", STRANGERS)
def test_every_view_of_a_network_written_elsewhere(name):
    key = f"own:network:test:{name}"
    found = checked(name, stranger(name))
    hold({key: found})
    state = ExplorerState()
    state.offer_uploads({name: key}, {})
    state.network = key
    assert set(state.param.layer.objects) == set(found.layers)
    where = (key, state.image, CENTRE)
    distribution = activations.distribution(key, state.layer)
    assert np.isfinite(distribution.counts).all()
    assert set(activations.mismatch(key)) == set(found.layers)
    reference = pictures.picture(*where, "float")
    for method in ("dfsq-exact", "minmax"):
        configs = state.configs(method)
        shown = points.points(key, state.layer, state.channel, configs(4), (), False)
        assert 2 <= len(set(np.round(np.asarray(shown.levels, dtype=float), 9))) <= 16
        errors = [
            np.abs(pictures.picture(*where, configs(bits), ()).rgb.astype(int) - reference.rgb).mean()
            for bits in (3, 8)
        ]
        assert errors[1] < errors[0], method
        assert errors[1] < 4, "8-bit levels"
    _, by_layer = pictures.sensitivity(*where, state.configs("minmax")(3))
    assert len(by_layer) == len(found.layers)
    state.strategy = "random"  # made-up weights overshoot everywhere
    plan = deployment.Plan.of(state)
    int8 = deployment.outcome(plan, deployment.variants(key)[-1], state.image, CENTRE)
    assert np.abs(int8.picture.rgb.astype(int) - reference.rgb).mean() < 6
    assert state.image in demo_names()
    release([key])


@pytest.mark.parametrize("name", ["Attention", "MeanShifts"])
def test_the_page_says_by_how_much_tiles_differ(name, monkeypatch):
    key = f"own:network:test tiles:{name}"
    hold({key: checked(name, stranger(name))})
    monkeypatch.setattr(pictures, "TILE", 48)
    config = ExplorerState().configs("minmax")(8)
    for what in ("float", config):
        picture = pictures.picture(key, demo_names()[0], WHOLE, what)
        tile = Tile("test", Window())
        tile.show(picture)
        html = tile.panel[-1].object
        if name == "MeanShifts":
            assert picture.tiles is None
            assert "tiles" not in html
        else:
            assert picture.tiles.side == 48
            assert f"made in tiles: {picture.tiles.decibels:.0f} dB from the whole" in html
            assert f"up to {picture.tiles.levels:.1f} levels" in of_tiles(picture.tiles)
    release([key])
