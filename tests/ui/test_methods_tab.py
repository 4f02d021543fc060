import re

import pytest
from browser import until

pytestmark = pytest.mark.browser
METHODS = ("dfsq-exact", "dfsq+", "minmax", "percentile")
PLACE = """([name, x, y]) => {
  const figure = Bokeh.documents[0].get_model_by_name(name), view = Bokeh.index.find_one_by_id(figure.id);
  const box = view.el.getBoundingClientRect(), frame = view.frame;
  return [box.x + frame.x_scale.compute(x), box.y + frame.y_scale.compute(y)];
}"""


def table(explorer):
    """Name -> the numbers of its row."""
    rows = explorer.page.locator("div.wide:not(.worth) tr").all()[1:]
    cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]
    return {name.split()[0]: numbers for name, *numbers in cells}


def test_a_region_and_an_edge(explorer):
    explorer.open("?tab=methods&methods=['dfsq-exact','minmax']".replace("'", '"'))
    whole, mouse = table(explorer), explorer.page.mouse
    assert list(whole) == ["Float", "dfsq-exact", "minmax"]
    assert whole["dfsq-exact"][:2] == whole["dfsq-exact"][2:4], "no region yet"
    explorer.press("Draw a region")
    explorer.page.wait_for_timeout(300)
    mouse.move(*explorer.page.evaluate(PLACE, ["method dfsq-exact", 60, 60]))
    mouse.down()
    mouse.move(*explorer.page.evaluate(PLACE, ["method dfsq-exact", 160, 120]), steps=5)
    mouse.up()
    explorer.page.wait_for_function("location.search.includes('box=')")
    until(lambda: table(explorer)["dfsq-exact"][2:] != whole["dfsq-exact"][2:], explorer)
    local = table(explorer)
    assert local["dfsq-exact"][:2] == whole["dfsq-exact"][:2]
    before = explorer.signature("profile")
    mouse.click(*explorer.page.evaluate(PLACE, ["method minmax", 200.5, 50.5]))
    explorer.after_change(("profile",), before)
    assert re.search("spot=", explorer.page.url)
    assert explorer.figure("profile")["title"] == "Luma along row 205"
    explorer.press("column")
    explorer.page.wait_for_function(
        "Bokeh.documents[0].get_model_by_name('profile').title.text == 'Luma along column 200'"
    )
    explorer.press("Clear the region")
    until(lambda: table(explorer) == whole, explorer)
