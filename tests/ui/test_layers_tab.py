import pytest

from core.ptq.scope import choose_layers
from core.zoo import create_model

pytestmark = pytest.mark.browser
FIGURES = ("layers alone", "layers all but")


def test_bars_by_layer_and_what_keeping_one_float_is_worth(explorer):
    explorer.open("?tab=layers&activation_bits=3&method=minmax")
    alone = explorer.figure("layers alone")["data"][0]
    names, _ = choose_layers(create_model("edsr", 2), None, None)
    assert alone["layer"] == names
    assert all(value > 0 for part in ("weights", "activations", "only", "all_but") for value in alone[part])
    assert explorer.count("with 0 kept float") == 1
    explorer.press("Keep body.0.body.0 float")
    explorer.page.get_by_text("with 1 kept float").wait_for()
    explorer.settle()
    assert explorer.figure("layers alone")["data"][0] == alone, "the bars quantize every layer"
    assert "float_layers=" in explorer.page.url
    explorer.press("Quantize body.0.body.0 again")
    explorer.page.get_by_text("with 0 kept float").wait_for()


def test_tapping_a_bar_chooses_the_layer(explorer):
    explorer.open("?tab=layers&network=xlsr_x3")
    explorer.settle()
    box = explorer.element("layers alone").bounding_box()
    explorer.page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"])
    explorer.page.wait_for_timeout(500)
    assert "layer=" in explorer.page.url
