"""What a visitor's choices make of the tab Layers, without a browser."""

import numpy as np
import pytest
from headless import Visitor

from core.ptq.scope import choose_layers
from core.zoo import create_model
from explorer.elements import layers

pytestmark = pytest.mark.slow


def test_bars_by_layer_and_what_keeping_one_float_is_worth():
    visitor = Visitor(network="xlsr_x3", tab="layers", activation_bits=3, method="minmax")
    names, _ = choose_layers(create_model("xlsr", 3), None, None)
    assert visitor.column("layers alone", "layer") == names
    assert all(value > 0 for part in layers.PARTS for value in visitor.column("layers alone", part))
    assert visitor.column("layers saved", "saved")[0] > 0
    assert visitor.count("with 0 kept float") == 1
    before, quantized = visitor.column("layers alone", "only"), visitor.picture("layers kept")
    np.testing.assert_array_equal(quantized, visitor.picture("layers whole"))
    visitor.tap("layers alone", 1.2)
    assert (visitor.state.float_layers, visitor.state.layer) == (["conv0_0.conv"], "conv0_0.conv")
    assert visitor.column("layers alone", "alpha")[:2] == [layers.PALE, 1]
    assert visitor.count(r"with 1 kept float \d+\.\d\d dB \(\+\d\.\d\d dB\)") == 1
    assert not np.array_equal(visitor.picture("layers kept"), quantized)
    assert visitor.column("layers alone", "only") == before, "the bars quantize every layer"
    visitor.tap("layers saved", 0.8)
    assert visitor.count("with 0 kept float") == 1


def test_more_bits_hurt_less():
    visitor = Visitor(network="xlsr_x3", tab="layers", method="minmax", activation_bits=3)
    worse = visitor.column("layers alone", "only")
    visitor.choose(activation_bits=5)
    assert sum(visitor.column("layers alone", "only")) < sum(worse)


def test_a_trained_method_has_no_layer_by_itself():
    visitor = Visitor(tab="layers", method="odm", activation_bits=2)
    assert visitor.count("The layers of odm were trained together; choose a calibrated method") == 1
    assert visitor.figure("layers alone") is None, "no empty figure looks like a result"


def test_a_trained_network_among_the_methods():
    visitor = Visitor(method="odm", activation_bits=2, compared_bits=[2, 3], details=["protocol"])
    assert visitor.picture("picture 2").size > 50
    assert visitor.count("odm is bundled at W2A2") >= 1, "there is none at 3 bits"
    assert visitor.count("weights: learned in training") == 1, "in the protocol"
    assert visitor.count("ODM v2") == 1, "beside the choice of the method"
    visitor.choose(network="xlsr_x3")
    assert visitor.state.method.startswith("dfsq")


def test_what_keeping_a_layer_float_costs():
    visitor = Visitor(network="xlsr_x3", tab="layers", activation_bits=4, method="minmax", file_size="64x64")
    assert visitor.figure("layers slower") is None, "nothing is timed before it is asked for"
    visitor.choose(details=["layer costs"])
    names = visitor.column("layers alone", "layer")
    assert visitor.column("layers slower", "layer") == visitor.column("layers larger", "layer") == names
    weights = dict(zip(names, visitor.column("layers larger", "larger"), strict=True))
    assert weights["conv4"] == pytest.approx(3 * 27 * 32 * 9 / 1024)  # three bytes more a weight
    # A grouped convolution is dense in INT8: 4 groups of 8x8 in float, 32x32 bytes with the zeros between.
    assert weights["Gblocks.0.conv0"] == pytest.approx((4 * 32 * 8 - 32 * 32) * 9 / 1024)
    assert (
        visitor.count(r"These 14 layers on an image of 64×64 LR pixels: \d+\.\d ms in INT8, \d+\.\d ms") == 1
    )
    visitor.choose(float_layers=["conv4"])
    assert visitor.column("layers larger", "alpha")[names.index("conv4")] == layers.PALE
