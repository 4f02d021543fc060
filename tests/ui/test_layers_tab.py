import pytest
from browser import until

pytestmark = pytest.mark.browser


def test_tapping_a_bar_keeps_the_layer_float(explorer):
    explorer.open("?tab=layers&network=xlsr_x3")
    before = explorer.signature("layers kept")
    explorer.tap("layers alone", 0.8, 0.5, lambda: "float_layers=" in explorer.page.url)
    assert "layer=" in explorer.page.url, "the tab Explore then shows it"
    until(lambda: explorer.count("with 1 kept float"), explorer)
    assert explorer.signature("layers kept") != before
    assert min(explorer.figure("layers alone")["data"][0]["alpha"]) < 1
