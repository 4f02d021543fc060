import pytest
from browser import until

pytestmark = pytest.mark.browser
PLACES = """() => {
  const figure = Bokeh.documents[0].get_model_by_name('histogram');
  const view = Bokeh.index.find_one_by_id(figure.id), box = view.el.getBoundingClientRect();
  const data = figure.renderers[1].data_source.data;
  return Array.from(data.x, (x, i) => [box.x + view.frame.x_scale.compute(x),
    box.y + view.frame.y_scale.compute(data.height[i])]);
}"""


def levels(explorer):
    return explorer.figure("histogram")["data"][1]["x"]


def drag(explorer, number, dx):
    x, y = explorer.page.evaluate(PLACES)[number]
    mouse, before = explorer.page.mouse, explorer.signature("histogram")
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + dx, y + 12, steps=6)
    mouse.up()
    explorer.after_change(("histogram",), before)


def test_points_are_moved_added_deleted_and_given_back(explorer):
    explorer.open("?activation_bits=3")
    best = levels(explorer)
    assert explorer.count("powers of two") == 1
    assert explorer.figure("picture hand") is None
    explorer.element("histogram")
    explorer.press("Edit points")
    explorer.page.wait_for_timeout(300)
    drag(explorer, 4, 14)
    moved = levels(explorer)
    assert len(moved) == 8
    assert sum(a != b for a, b in zip(best, moved, strict=True)) == 1
    until(lambda: explorer.count("By hand, W3A3") == 1, explorer)
    assert explorer.count("above the optimum") == 1
    assert explorer.count(r"^\d+\.\d %$") == 1
    assert "hand=" in explorer.page.url
    x, y = explorer.page.evaluate(PLACES)[0]
    before = explorer.signature("histogram")
    explorer.page.mouse.click(x, y)
    explorer.page.keyboard.press("Backspace")
    explorer.after_change(("histogram",), before)
    assert len({*levels(explorer)}) == 7
    before = explorer.signature("histogram")
    explorer.page.mouse.click(x + 30, y + 60)
    explorer.after_change(("histogram",), before)
    assert len({*levels(explorer)}) == 8
    before = explorer.signature("histogram")
    explorer.press("Back to the optimum")
    explorer.after_change(("histogram",), before)
    assert levels(explorer) == best
    until(lambda: explorer.count("By hand, W3A3") == 0, explorer)


def test_written_points_and_a_link_to_them(explorer):
    explorer.open("?activation_bits=2&hand=[-512,0,512]&hand_layer=true")
    assert levels(explorer) == [-0.5, 0, 0.5]
    assert len(explorer.figure("picture hand")["data"][0]["image"]) > 50
    field = explorer.page.get_by_label("Points by hand")
    assert field.input_value() == "-0.5, 0, 0.5"
    field.fill("-1 -0.5 0 0.5 1")
    field.press("Enter")
    explorer.page.get_by_text("2 bits tell 4 points apart and these are 5").wait_for()
    before = explorer.signature("picture hand")
    field.fill("-0.75, -0.25, 0.25, 0.75")
    field.press("Enter")
    explorer.after_change(("picture hand",), before)
    assert levels(explorer) == [-0.75, -0.25, 0.25, 0.75]
    explorer.choose("Method", "minmax")
    explorer.page.get_by_text("Edit points").wait_for(state="hidden")
