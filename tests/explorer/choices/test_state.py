import pytest

from core import UniversalSet
from explorer.choices.catalog import NETWORKS, layer_channels
from explorer.choices.state import DEFAULT_METHOD, SAME, ExplorerState

pytestmark = pytest.mark.skipif(not NETWORKS, reason="no network is bundled")


def test_layers_and_channels_follow_the_network():
    state = ExplorerState()
    names = list(layer_channels(state.network))
    assert state.param.layer.objects == names
    assert state.layer == names[0]
    assert state.param.channel.bounds == (0, layer_channels(state.network)[state.layer] - 1)


def test_configurations_are_as_chosen_at_the_time():
    state = ExplorerState(words=3, selector="kmeans", weight_bits=8)
    configs = state.configs()
    state.words, state.method = 5, "minmax"
    made = configs(3)
    assert (made.method, made.activation_bits, made.weight_bits) == ("dfsq-exact", 3, 8)
    assert (made.universal_set, made.selector) == (UniversalSet(3, 4), "kmeans")


def test_weights_take_the_activations_bits_by_default():
    state = ExplorerState()
    assert state.weight_bits == SAME
    assert state.configs()(5).weight_bits == 5


def test_the_same_static_configuration_for_every_universal_set():
    one, two = ExplorerState(method="minmax"), ExplorerState(method="minmax", words=2, selector="greedy")
    assert one.configs()(4) == two.configs()(4)


def test_too_small_a_set_says_so():
    state = ExplorerState(words=1, terms=3)
    with pytest.raises(ValueError, match=r"4 bits need 16 points .* has 5"):
        state.configs()(4)


@pytest.mark.parametrize(
    ("compared", "slider", "shown"),
    [
        ([2, 3, 4, 8], 4, [2, 3, 4, 8]),
        ([2, 3, 4, 8], 2, [2, 3, 4, 8]),
        ([2, 3, 4, 8], 5, [2, 3, 5, 8]),
        ([2, 3, 4, 8], 6, [2, 3, 6, 8]),  # of two that are as near, the lower
        ([2, 3, 4, 8], 7, [2, 3, 4, 7]),
        ([4], 3, [3]),
        ([], 5, [5]),
    ],
)
def test_the_nearest_of_the_bits_side_by_side_follows_the_slider(compared, slider, shown):
    assert ExplorerState(activation_bits=slider, compared_bits=compared).shown_bits() == shown


def test_the_pictures_of_the_comparison():
    state = ExplorerState(activation_bits=5, left="7", right="slider")
    assert state.picture_key("left") == 7
    assert state.picture_key("right") == 5


def test_parts_of_the_page_open_and_close_in_their_order():
    state = ExplorerState()
    for name in ("spread", "files", "spread"):
        state.open(name)
    assert state.details == ["files", "spread"]
    state.open("files", False)
    assert not state.is_open("files")


def test_a_trained_method_and_its_runs_are_offered_where_they_are_bundled():
    state = ExplorerState(network="edsr_x2")
    state.method = "odm"
    assert state.run == "odm-w2a2"
    state.network = "xlsr_x3"
    assert (state.method, state.run) == (DEFAULT_METHOD, "own")
    assert "odm" not in state.param.method.objects
    state.network = "edsr_x2"
    assert state.run == "odm-w2a2", "what is recorded is shown again"
    state.run = "own"
    assert state.copy().run == "own"
    for network in ("xlsr_x3", "edsr_x2"):
        state.network = network
        assert state.run == "own", "a choice stays"


def test_the_constants_of_a_training_follow_its_version():
    state = ExplorerState(train_version="v1")
    state.train_version = "pams"
    config = state.training()
    assert (config.regularization, config.corrects, config.has_offsets) == ("none", False, False)
