import pytest

pytestmark = pytest.mark.browser


def test_tapping_a_bar_keeps_the_layer_float(explorer):
    explorer.open("?tab=layers&network=xlsr_x3")
    before = explorer.signature("layers kept")
    explorer.tap("layers alone", 0.8, 0.5, lambda: "float_layers=" in explorer.page.url)
    assert "layer=" in explorer.page.url, "the tab Explore then shows it"
    explorer.shows("with 1 kept float")
    assert explorer.signature("layers kept") != before
    assert min(explorer.figure("layers alone")["data"][0]["alpha"]) < 1


def test_a_budget_and_a_tap_decide_the_bits_of_layers(explorer):
    explorer.open("?tab=layers&network=xlsr_x3&method=mse")
    explorer.slide("Budget", -4)
    explorer.shows("Allocated for a budget of 80 %")
    explorer.settle()
    allocated = explorer.page.url
    assert "layer_bits=" in allocated

    def first() -> int:
        return explorer.figure("layers bits")["data"][1]["activations"][0]

    explorer.tap_at(
        lambda: explorer.place("layers bits", 1.2, 7.0),
        lambda: explorer.count("Bits set by hand"),
    )
    assert first() == 7
    tapped = explorer.page.url
    explorer.drag("layers bits", (1.2, 6), (1.2, 3.1), lambda: explorer.page.url != tapped)
    assert first() == 3
    by_hand = explorer.signature("layers by layer")
    explorer.press("Allocate")
    explorer.shows("Allocated for a budget of 80 %")
    explorer.settle()
    assert explorer.signature("layers by layer") != by_hand
    bars = explorer.figure("layers bits")["data"]
    explorer.open(explorer.page.url.removeprefix(explorer.server))
    linked = explorer.figure("layers bits")["data"]
    assert [linked[0]["weights"], linked[1]["activations"]] == [bars[0]["weights"], bars[1]["activations"]]
    explorer.press("As uniform W4A4")
    explorer.shows("Every layer has the sliders' bits")
