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


def test_methods_at_the_same_bits(explorer):
    explorer.open("?tab=methods&activation_bits=3")
    for name in METHODS:
        assert len(explorer.figure(f"method {name}")["data"][0]["image"]) > 50
        assert len(explorer.figure(f"error {name}")["data"][0]["image"]) > 50
    scores = table(explorer)
    assert list(scores) == ["Float", *METHODS]
    assert float(scores["dfsq+"][0]) > float(scores["minmax"][0])
    lines = [line["y"] for line in explorer.figure("profile")["data"]]
    assert len(lines) == 6
    assert all(len(line) == 64 for line in lines)
    before = explorer.signature("method dfsq-exact")
    explorer.slide("Activation bits", 3)
    explorer.after_change(("method dfsq-exact",), before)
    assert explorer.count("dfsq-exact W6A6") >= 1


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
    explorer.press("Drop the region")
    until(lambda: table(explorer) == whole, explorer)


def test_a_method_that_cannot_be_says_why(explorer):
    explorer.open('?tab=methods&methods=["odm","dfsq-exact"]&activation_bits=3')
    assert explorer.count("odm was trained at W2A2 and W4A4") == 1
    assert list(table(explorer)) == ["Float", "dfsq-exact"]


def test_what_each_ingredient_is_worth(explorer):
    explorer.open("?tab=methods&methods=[%22minmax%22]&activation_bits=4")
    explorer.page.get_by_text("What is each ingredient worth?").click()
    cells = [cell.inner_text() for cell in explorer.page.locator("div.worth td").all()]
    rows = [cells[i : i + 4] for i in range(0, len(cells), 4)]
    assert [row[0] for row in rows][2:] == ["per channel and image (DFSQ's)", "per block of 8×8"]
    assert float(rows[3][3]) > float(rows[0][3]) + 0.4, "blocks have their price"
    assert float(rows[0][1]) < float(rows[0][2]), "points are worth something with one range a layer"
