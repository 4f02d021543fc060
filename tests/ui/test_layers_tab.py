import pytest

pytestmark = pytest.mark.browser


def test_tapping_a_bar_chooses_the_layer(explorer):
    explorer.open("?tab=layers&network=xlsr_x3")
    explorer.tap("layers alone", 0.8, 0.5, lambda: "layer=" in explorer.page.url)
