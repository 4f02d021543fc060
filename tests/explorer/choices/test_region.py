import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.choices.region import CENTRE, ELSEWHERE, WHOLE, Region, Window
from explorer.choices.state import ExplorerState
from explorer.page.region_panel import RegionChoice
from explorer.pipeline import regions


class Complaints(list):
    complain = list.append


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_region_is_what_its_link_says(x, y):
    assert Region.parse(f"{x},{y}") == Region(ELSEWHERE, x, y)
    assert str(Region(ELSEWHERE, x, y)) == f"{x},{y}"


def test_where_a_region_lies():
    assert Region.parse(WHOLE).window(300, 200) == Window(0, 0, 300, 200)
    assert Region.parse(CENTRE).window(300, 200) == Window(86, 36, 128, 128)
    assert Region.parse("500,0").window(300, 200) == Window(0, 36, 128, 128)
    assert Region.parse("250,1000").window(300, 100) == Window(172, 0, 128, 100)
    assert Region.parse("250,1000").describe() == "128×128 LR around 25 % from the left, 100 % from the top"


def test_widgets_and_state_follow_each_other(monkeypatch):
    state, said = ExplorerState(), Complaints()
    choice = RegionChoice(state, said)
    choice.kind = ELSEWHERE
    assert state.region == "500,500"
    choice.across = 12.5
    assert state.region == "125,500"
    state.region = "303,777"  # by a tap
    assert (choice.kind, choice.across, choice.down) == (ELSEWHERE, 30.3, 77.7)
    assert state.region == "303,777"
    state.region = CENTRE
    assert choice.kind == CENTRE
    monkeypatch.setattr(regions, "WHOLE_MEGAPIXELS", 0)
    choice.kind = WHOLE
    assert said[-1].startswith("The SR of the whole image has")
    assert (choice.kind, state.region) == (CENTRE, CENTRE)
    monkeypatch.undo()
    choice.kind = WHOLE
    assert (said[-1], state.region) == ("", WHOLE)


@pytest.mark.parametrize("text", ["", "1001,0", "0,1001", "-1,0", "1", "centre\n", "elsewhere"])
def test_what_is_no_region(text):
    with pytest.raises(ValueError, match="region"):
        ExplorerState(region=text)
