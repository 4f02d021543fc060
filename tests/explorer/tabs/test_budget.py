"""Bits by layer under a budget, without a browser."""

import contextlib
import io
import re

import numpy as np
import pytest
from headless import Visitor

import core
from explorer.choices.state import ExplorerState
from explorer.export import files, report, script
from explorer.pipeline import allocation, pictures

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tabs")]
CHOICES = dict(network="xlsr_x3", tab="layers", method="mse", compared_bits=[])


@pytest.fixture
def visitor():
    return Visitor(**CHOICES)


def share(cell: str) -> int:
    return int(re.search(r"\((\d+) %\)", cell)[1])


def test_a_budget_gives_each_layer_its_bits_and_all_follow(visitor):
    state = visitor.state
    assert set(visitor.column("layers bits", "weights")) == {4}, "the start is uniform"
    np.testing.assert_array_equal(visitor.picture("layers uniform"), visitor.picture("layers by layer"))
    visitor.move("Budget / % of uniform W4A4", 80)
    visitor.settle()
    assert not visitor.session.status.errors
    bits = visitor.column("layers bits", "weights"), visitor.data("layers bits", 1)["activations"]
    assert len({*bits[0]} | {*bits[1]}) > 1
    assert state.bits_by_layer() == dict(
        zip(state.param.layer.objects, zip(*(map(int, side) for side in bits), strict=True), strict=True)
    )
    uniform, own = visitor.rows("GBitOPs")
    assert (share(uniform[2]), own[0]) == (100, "Bits by layer")
    assert 70 < share(own[2]) <= 80, "the budget is kept"
    assert visitor.count("Allocated for a budget of 80 %") == 1
    shown = visitor.picture("layers by layer")
    visitor.choose(tab="explore")
    assert visitor.count("W4A4, by layer") >= 1
    np.testing.assert_array_equal(visitor.picture("picture 4"), shown)
    visitor.choose(tab="layers")
    visitor.press("As uniform W4A4")
    assert (state.layer_bits, visitor.count("Every layer has the sliders' bits")) == ("", 1)
    visitor.press("Allocate")
    assert state.bits_by_layer()
    visitor.choose(activation_bits=3)
    assert state.layer_bits == "", "they were chosen for other bits"
    assert set(visitor.column("layers bits", "weights")) == {3}


def test_a_tap_sets_the_bits_of_a_layer(visitor):
    first, second, *_ = visitor.state.param.layer.objects
    visitor.tap("layers bits", 1.2, 6.8)
    assert visitor.state.bits_by_layer()[first] == (4, 7)
    visitor.tap("layers bits", 1.8, 0.1)
    assert visitor.state.bits_by_layer()[second] == (2, 4)
    assert visitor.column("layers bits", "weights")[:3] == [4, 2, 4]
    assert visitor.count("Bits set by hand") == 1
    visitor.choose(float_layers=[first])
    assert visitor.column("layers bits", "layer")[0] == second, "layers kept float have no bits"
    assert first not in visitor.state.bits_by_layer()


def test_a_method_says_which_bits_it_does_not_have():
    visitor = Visitor(**CHOICES | {"method": "piecewise"})
    visitor.tap("layers bits", 1.2, 2.0)
    said = "layer_bits of conv0_0.conv: piecewise levels are 0 alone at 2 bits; give 3 bits or more"
    assert visitor.session.status.errors["by hand"] == said
    assert visitor.state.layer_bits == ""
    visitor.tap("layers bits", 1.2, 5.0)
    assert not visitor.session.status.errors


def test_too_small_a_budget_is_said_in_a_sentence(visitor):
    visitor.choose(activation_bits=2)
    visitor.move("Budget / % of uniform W2A2", 50)
    said = visitor.session.status.errors["allocate"]
    assert re.fullmatch(r"the budget of 50 % is below 100\.0 %, what the fewest bits cost; raise it", said)


def test_the_curve_is_computed_when_it_is_opened(visitor, monkeypatch):
    monkeypatch.setattr(allocation, "BUDGETS", (80, 100))
    assert visitor.figure("layers budgets") is None
    visitor.choose(details=["budgets"])
    allocated, uniform = (visitor.data("layers budgets", i) for i in (1, 3))
    assert [round(cost) for cost in uniform["budget"]][2] == 100
    assert list(uniform["name"]) == ["W2A2", "W3A3", "W4A4", "W5A5", "W6A6"]
    assert list(allocated["name"]) == ["budget 80 %", "budget 100 %"]
    assert max(allocated["budget"]) <= 100.01
    assert sorted(uniform["psnr"]) == list(uniform["psnr"])


@pytest.mark.parametrize("method", ["mse", "dfsq-exact"])
def test_script_and_checkpoint_hold_the_same_bits(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    visitor, told = Visitor(**CHOICES | {"method": method}), io.StringIO()
    visitor.choose(
        layer_bits="52444444444444-84444444444443"[: 2 * len(visitor.state.param.layer.objects) + 1]
    )
    state = visitor.state
    assert len(state.bits_by_layer()) == len(state.param.layer.objects)
    code = script.code(state)
    with contextlib.redirect_stdout(told):
        exec(code, {})
    config = state.configs()(4)
    assert len(config.layer_bits) == 3
    shown = pictures.picture(state.network, state.image, state.region, config)
    assert float(re.search(r"\d+\.\d+", told.getvalue())[0]) == pytest.approx(shown.psnr, abs=0.011)
    assert script.checkpoint_name(state).endswith("_w4a4_by_layer.safetensors")
    written = core.load_quantized(tmp_path / script.checkpoint_name(state))
    (tmp_path / "taken.safetensors").write_bytes(files.checkpoint(state))
    taken = core.load_quantized(tmp_path / "taken.safetensors")
    for network in (written, taken):
        assert network.quant_config.layer_bits == config.layer_bits
    for key, value in taken.state_dict().items():
        assert np.allclose(value, written.state_dict()[key], atol=1e-6), key


def test_the_report_lists_the_bits_by_layer():
    state = ExplorerState()
    state.choose(CHOICES | {"tab": "explore", "methods": ["mse"]})
    first, *others = state.param.layer.objects
    state.layer_bits = "5" + "4" * len(others) + "-" + "8" + "4" * len(others)
    text = report.report(state).decode()
    assert f"{first} W5A8, {others[0]} W4A4" in text
    assert "mse, bits by layer" in text
