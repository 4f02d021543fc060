import dataclasses

import pytest

from core import QuantConfig, UniversalSet


@pytest.mark.parametrize("name", ["activation_bits", "weight_bits"])
@pytest.mark.parametrize("bits", [0, 1, 9, 16, -4, True, "4", None, 4.5])
def test_bits_out_of_range(name, bits):
    with pytest.raises(ValueError, match=f"{name} must be 2 to 8, or 32 for float, got"):
        QuantConfig(**{name: bits})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "no method 'magic'; there are dfsq, dfsq"),
        ({"selector": "best"}, "no selector 'best'; there are exact, kmeans, greedy, exhaustive"),
        ({"universal_set": 4}, "must be a UniversalSet, got int"),
        ({"universal_set": UniversalSet(1, 3)}, "4 bits need 16 points .* words=1, terms=3 has 5"),
        ({"normalization": "layer"}, "no normalization 'layer'; there are tensor, channel, image, block"),
        ({"levels": "odd"}, "no levels 'odd'; there are uniform, subset, log2, apot, piecewise, gaussian"),
        ({"ranges": "wide"}, "no ranges 'wide'; there are minmax, percentile, mse, 2dquant"),
        ({"weights": "light"}, "no weights 'light'; there are minmax, mse"),
        ({"side_bits": 5}, "side_bits must be 4, 8 or 16, got 5"),
        (
            {"levels": "gaussian"},
            "with normalization 'image' go levels uniform, .* got 'gaussian'; choose both",
        ),
        ({"method": "daq", "normalization": "image"}, "'image' go levels .* got 'gaussian'"),
        ({"method": "mx", "activation_bits": 3}, "MX has elements of 4, 6, 8 bits, not of 3; choose one"),
        ({"method": "mx", "weight_bits": 5}, "MX has elements of 4, 6, 8 bits, not of 5"),
        ({"method": "nvfp4", "activation_bits": 8}, "NVFP4 has elements of 4 bits, not of 8"),
        (
            {"method": "piecewise", "activation_bits": 2},
            "piecewise levels are 0 alone at 2 bits; give 3 bits or more",
        ),
        ({"levels": "piecewise"}, "with normalization 'image' go levels uniform, .* got 'piecewise'"),
        (
            {"method": "mx", "refine": ("rounding",)},
            "'rounding' needs levels by row, and mx has them by block",
        ),
    ],
)
def test_configurations_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        QuantConfig(**change)


def test_a_small_set_is_enough_where_no_points_are_chosen():
    assert QuantConfig("minmax", universal_set=UniversalSet(1, 3)).activation_bits == 4
    assert QuantConfig(activation_bits=32, universal_set=UniversalSet(1, 3)).from_subset


def test_config_is_a_value():
    assert len({QuantConfig(), QuantConfig(), QuantConfig(seed=1)}) == 2
    assert str(QuantConfig(weight_bits=8)) == "dfsq-exact W8A4"
    assert str(QuantConfig("minmax")) == "minmax W4A4"
    assert str(QuantConfig("dfsq", selector="exact")) == "dfsq W4A4, exact points"
    assert str(QuantConfig("dfsq+", 4, 3, selector="exact", weights="subset")) == "dfsq+ W3A4, subset weights"
    assert str(QuantConfig("daq", side_bits=8)) == "daq W4A4, 8 bits of side information"
    with pytest.raises(dataclasses.FrozenInstanceError):
        QuantConfig().seed = 1


def test_a_published_name_is_the_published_method():
    assert QuantConfig("dfsq").recipe[:7] == ("image", "subset", "minmax", "minmax", (), "kmeans", False)
    assert QuantConfig("dfsq-exact").recipe.selector == "exact"
    assert QuantConfig("daq").recipe[:4] == ("deviation", "gaussian", "minmax", "daq")
    assert QuantConfig("2dquant").recipe[:4] == ("tensor", "uniform", "2dquant", "2dquant")
