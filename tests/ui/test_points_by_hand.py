import pytest
from browser import until

pytestmark = pytest.mark.browser


def levels(explorer):
    return explorer.figure("histogram")["data"][1]["x"]


def place(explorer, number):
    """Of one point's head on the page."""
    data = explorer.figure("histogram")["data"][1]
    return explorer.place("histogram", data["x"][number], data["height"][number])


def drag(explorer, number, dx):
    (x, y), mouse, before = place(explorer, number), explorer.page.mouse, explorer.signature("histogram")
    mouse.move(x, y)
    until(lambda: explorer.tool_is_active("histogram", "PointDrawTool"), explorer)
    mouse.down()
    mouse.move(x + dx, y + 12, steps=6)
    mouse.up()
    explorer.after_change(("histogram",), before)


def test_points_are_moved_added_deleted_and_given_back(explorer):
    explorer.open('?network=xlsr_x3&activation_bits=3&compared_bits=[8]&details=["by hand","terms"]')
    best = levels(explorer)
    explorer.shows("Each point as a sum of powers of two", 1)
    assert explorer.figure("picture hand") is None
    drag(explorer, 4, 14)
    moved = levels(explorer)
    assert len(moved) == 8
    assert sum(a != b for a, b in zip(best, moved, strict=True)) == 1
    explorer.shows("By hand, W3A3", 1)
    explorer.shows("above the optimum", 1)
    explorer.shows(r"^\d+\.\d %$", 1)
    until(lambda: "hand=" in explorer.page.url, explorer)
    x, y = place(explorer, 0)
    before = explorer.signature("histogram")
    explorer.page.mouse.click(x, y)
    explorer.page.keyboard.press("Backspace")
    explorer.after_change(("histogram",), before)
    assert len({*levels(explorer)}) == 7
    explorer.page.wait_for_timeout(1000)  # two taps within 0.3 s, wherever, are a double tap to Bokeh
    before = explorer.signature("histogram")
    explorer.page.mouse.click(x + 30, y + 60)
    explorer.after_change(("histogram",), before)
    assert len({*levels(explorer)}) == 8
    before = explorer.signature("histogram")
    explorer.press("Reset points")
    explorer.after_change(("histogram",), before)
    assert levels(explorer) == best
    explorer.shows("By hand, W3A3", 0)
