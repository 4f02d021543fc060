import re

import pytest
from browser import until

pytestmark = pytest.mark.browser


def table(explorer):
    """Name -> the numbers of its row."""
    # At once: the table may change between two questions.
    rows = explorer.page.locator("div.wide:not(.worth) tr").evaluate_all(
        "(rows) => rows.slice(1).map((row) => [...row.querySelectorAll('td')].map((cell) => cell.innerText))"
    )
    return {name.strip("■ ").split()[0]: numbers for name, *numbers in rows}


def test_a_region_and_an_edge(explorer):
    explorer.open('?network=xlsr_x3&tab=methods&methods=["dfsq-exact","minmax"]')
    whole, mouse = table(explorer), explorer.page.mouse
    assert list(whole) == ["Float", "dfsq-exact", "minmax"]
    assert len(whole["minmax"]) == 3, "no region yet"
    explorer.press("Draw a region")
    until(lambda: explorer.tool_is_active("method large", "BoxSelectTool"), explorer)
    mouse.move(*explorer.place("method large", 60, 60))
    mouse.down()
    mouse.move(*explorer.place("method large", 160, 120), steps=5)
    mouse.up()
    explorer.page.wait_for_function("location.search.includes('box=')")
    until(lambda: len(table(explorer)["dfsq-exact"]) == 5, explorer)
    local = table(explorer)
    assert local["dfsq-exact"][:2] == whole["dfsq-exact"][:2]
    before = explorer.signature("profile")
    mouse.click(*explorer.place("method large", 200.5, 50.5))
    explorer.after_change(("profile",), before)
    assert re.search("spot=", explorer.page.url)
    side = explorer.figure("method large")["data"][0]["dh"][0]
    assert explorer.figure("profile")["title"] == f"Luma along row {side - 51}"
    explorer.press("column")
    explorer.page.wait_for_function(
        "Bokeh.documents[0].get_model_by_name('profile').title.text.startsWith('Luma along column 200')"
    )
    explorer.press("Clear the region")
    until(lambda: table(explorer) == whole, explorer)


def test_ranges_are_tuned(explorer):
    explorer.open(
        '?network=xlsr_x3&tab=methods&methods=["minmax","dfsq-exact"]&large=minmax&activation_bits=3'
    )
    explorer.slide("Steps", -3)
    explorer.settle()
    explorer.press("Tune")
    until(lambda: explorer.figure("tuning loss"), explorer)
    explorer.shows(r"PSNR: before tuning \d\d\.\d\d dB, after")
    explorer.settle()
    assert len(explorer.figure("tuning loss")["data"][0]["loss"]) == 50
    assert explorer.signature("tuned before") != explorer.signature("tuned after")
