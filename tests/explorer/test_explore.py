"""`explore`: any network in the whole explorer, without a browser."""

import gc
import time
import weakref

import numpy as np
import pytest
import torch
from headless import LONGEST, Visitor
from strangers import stranger

import core
from explorer import explore
from explorer.choices import sources
from explorer.choices.state import EXPLORE, TABS
from explorer.export import files, script
from explorer.pipeline import activations, pictures
from explorer.pipeline.protocol import protocol

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tabs")]


def street():
    return core.demo_image(core.demo_names()[1])[..., 100:300, 100:260]


def patches():
    lr = core.make_lr(street(), 2)
    return core.calibration_patches([lr], 4, 40)


def test_every_tab_shows_a_network_with_attention_and_its_scope_images_and_range():
    app = explore(
        {"mine": stranger("Attention"), "luma": stranger("Luma")},
        2,
        images={"street": street()},
        layers={"mine": ["blocks.0.0", "blocks.1.2", "tail"]},
        calibration=patches(),
        compared_bits=[3],
        method="minmax",
    )
    visitor = Visitor(app.visit())
    state = visitor.state
    assert list(state.param.network.names)[:3] == ["mine ×2", "luma ×2", "EDSR ×2"]
    assert next(iter(state.param.image.names)) == "street"
    assert list(state.param.layer.objects) == ["tail", "blocks.0.0", "blocks.1.2"]
    assert "4 LR images of 40×40 pixels of your own, that were given" in protocol(state)
    assert "the layers that were asked for" in protocol(state)
    assert np.asarray(visitor.data("heat map")["image"][0]).shape[0] == 16
    drawn = visitor.drawn("picture 4", "histogram")
    visitor.choose(activation_bits=2, layer="tail")
    assert visitor.drawn("picture 2", "histogram") != drawn
    for tab in TABS:
        visitor.choose(tab=tab)
        assert not visitor.session.status.errors.keys() - {"int8"}, tab
    visitor.choose(tab="layers")
    assert visitor.column("layers alone", "layer") == list(state.param.layer.objects)
    visitor.choose(network=next(k for k in state.param.network.objects if k.endswith("luma")), tab=EXPLORE)
    assert not visitor.session.status.errors
    visitor.session.leave()


def test_the_same_network_twice_is_computed_once_and_dropped_with_the_last():
    network = stranger("InterpolatedSkip")
    visits = [explore(network, tab="training").visit() for _ in range(2)]
    key = visits[0].session.state.network
    assert visits[1].session.state.network == key
    assert activations.network(key) is activations.network(key)
    visits[0].session.leave()
    assert activations.network.known(key)
    visits[1].session.leave()
    assert not activations.network.known(key)
    with pytest.raises(ValueError, match="is no longer loaded"):
        sources.source(key)


def test_a_script_says_what_is_to_be_put_in_and_then_runs():
    network = stranger("Tied")
    visit = explore({"mine": network}, 2, images={"street": street()}, method="minmax").visit()
    state = visit.session.state
    text = script.code(state)
    assert "model = ...  # put your network 'mine' in here: Tied ×2, 5 k parameters" in text
    assert "hr = ...  # put your image 'street' in here" in text
    code = text.replace("model = ...", "model = network").replace("hr = ...", "hr = street()")
    names = {"network": network, "street": street}
    exec(code.replace("core.save_quantized", "print"), names)
    config = state.configs()(4)
    shown = pictures.picture(state.network, state.image, state.region, config)
    assert names["psnr"] == pytest.approx(shown.psnr, abs=0.01)
    assert len(files.checkpoint(state)) > 1000
    visit.session.leave()


@pytest.mark.parametrize(
    ("arguments", "choices", "sentence"),
    [
        (({},), {}, "there is no network to explore; give at least one"),
        (({3: torch.nn.ReLU()},), {}, "a network's name has 1 to 60 letters, got 3"),
        (({"a": torch.nn.ReLU()},), {"layers": {"b": None}}, "no network is named b; there are a"),
        (([torch.nn.ReLU()],), {}, "list: a network must be a torch.nn.Module, got list"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, choices, sentence):
    with pytest.raises(ValueError, match=sentence):
        explore(*arguments, **choices)


def test_a_wrong_choice_is_said_at_once():
    with pytest.raises(ValueError, match="there is no choice named bits"):
        explore(stranger("Tied"), bits=3)
    with pytest.raises(ValueError, match="activation_bits"):
        explore(stranger("Tied"), activation_bits=99)


def test_twenty_explorations_leave_nothing():
    def once() -> list[weakref.ref]:
        network = stranger("TupleOutput")
        network.head.weight.data += torch.rand(())  # another network every time
        visit = explore(network, tab="training", method="minmax").visit()
        visit.session.start()
        copied = sources.source(visit.session.state.network).model
        visit.session.leave()
        return [weakref.ref(thing) for thing in (copied, visit, visit.session, visit.session.state)]

    once()
    found = [ref for _ in range(20) for ref in once()]
    end = time.monotonic() + LONGEST
    while any(ref() is not None for ref in found):  # cancelled work ends at its next step
        assert time.monotonic() < end
        time.sleep(0.1)
        gc.collect()
