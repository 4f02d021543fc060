import re
from pathlib import Path

import pytest
from browser import Explorer, until
from looks import check_look

from explorer.choices.state import TABS
from explorer.page.tour import LESSONS

pytestmark = pytest.mark.browser
MODELS = "Bokeh.documents[0]._all_models.size"
TAB = "(new URLSearchParams(location.search).get('tab') ?? 'explore')"

POINTS = ("histogram", "staircase")
PICTURES = ("picture bicubic", "picture 2", "picture 3", "picture 4", "picture 8")
OPACITY = """(e) => { let o = 1; while (e) { o *= getComputedStyle(e).opacity;
  e = e.parentElement ?? e.getRootNode().host; } return o; }"""
FRAMED = """(tiles) => tiles.filter((tile) => getComputedStyle(tile).outlineStyle == "solid")
  .map((tile) => tile.shadowRoot.querySelector(".text").shadowRoot.querySelector("span").innerText)"""
CONTRAST = (Path(__file__).parents[1] / "pages" / "contrast.js").read_text()
BOX = """(name) => {
  const found = Bokeh.index.find_one_by_id(Bokeh.documents[0].get_model_by_name(name).id);
  const {x, y, right, bottom} = found.el.getBoundingClientRect();
  return x >= 0 && y >= 0 && right <= innerWidth && bottom <= innerHeight;
}"""

# A change of a class, a size or the parts of a layout lays out its whole root anew.
COUNT_LAYOUTS = """() => {
  window.layouts = 0;
  for (const root of Bokeh.index) {
    const lay_out = root.invalidate_layout;
    root.invalidate_layout = () => { window.layouts++; lay_out.call(root); };
  }
}"""


def test_cause_and_effect_are_on_one_screen(explorer):
    explorer.open()
    for name in ("strip", "heat map", *POINTS, *PICTURES):
        assert explorer.page.evaluate(BOX, name), f"{name} is in sight without scrolling"
    assert len(explorer.figure("heat map")["data"][0]["image"]) > 50
    assert len(explorer.figure("histogram")["data"][1]["x"]) == 16
    for name in PICTURES:
        assert len(explorer.figure(name)["data"][0]["image"]) > 50, name
    explorer.shows(r"\d+\.\d\d dB · SSIM 0\.\d{3}", 5)
    explorer.shows("Universal set: 377 points", 1)
    explorer.page.wait_for_timeout(500)  # what is dimmed for longer than that stays so
    for name in ("Bicubic", "W8A8", "W4A4 ◂ sliders"):
        assert explorer.page.get_by_text(name).last.evaluate(OPACITY) == 1, name
    handle = explorer.page.locator(
        ".bk-input-group:has(.bk-slider-title:has-text('Activation bits')) .noUi-handle"
    )
    box = handle.bounding_box()
    assert box["y"] + box["height"] < 900
    before = explorer.signature(*POINTS, "picture 4")
    explorer.page.evaluate(COUNT_LAYOUTS)
    handle.press("ArrowRight")
    until(lambda: explorer.figure("picture 5") and explorer.signature(*POINTS) not in before, explorer)
    explorer.settle()
    assert explorer.page.evaluate("window.layouts") == 0, "a move lays out nothing anew: that takes a second"
    assert explorer.page.evaluate(BOX, "picture 5")
    assert len(explorer.figure("picture 5")["data"][0]["image"]) > 50


def test_the_wheel_scrolls_the_page_and_a_tap_enlarges(explorer):
    explorer.open('?network=xlsr_x3&compared_bits=[4]&details=["spread","mismatch"]')
    box = explorer.element("picture 4").bounding_box()
    explorer.page.mouse.move(box["x"] + 50, box["y"] + 50)
    scrolled = "document.querySelector('#main').scrollTop"
    before, zoom = explorer.page.evaluate(scrolled), explorer.figure("picture 4")["x"]
    explorer.page.mouse.wheel(0, 120)
    until(lambda: explorer.page.evaluate(scrolled) > before, explorer)
    assert explorer.figure("picture 4")["x"] == zoom
    explorer.tap("picture 4", 0.5, 0.5, lambda: "large" in explorer.page.url)
    until(
        lambda: explorer.figure("large left") and explorer.figure("large left")["data"][0]["image"], explorer
    )


def test_the_tour_keeps_the_visitors_choices(explorer):
    explorer.open("?image=chelsea the cat (scikit-image)")
    explorer.press("Five questions")
    explorer.page.get_by_text(LESSONS[0].question).wait_for()
    explorer.page.wait_for_function("location.search.includes('lesson=1')")
    explorer.settle()
    assert "chelsea" in explorer.page.url
    assert explorer.figure("spread")["data"]


def test_what_a_hand_does(explorer):
    explorer.open('?network=xlsr_x3&layer=Gblocks.0.conv0&references=["hr","float"]&details=["by image"]')
    slide_and_choose(explorer)
    tap_channels_and_layers(explorer)
    zoom(explorer)
    stop(explorer)


def slide_and_choose(explorer) -> None:
    points = explorer.signature(*POINTS)
    explorer.slide("Activation bits", -1)
    points = explorer.after_change(POINTS, points)
    assert len(explorer.figure("histogram")["data"][1]["x"]) == 8
    assert explorer.page.locator(".tile").evaluate_all(FRAMED) == ["W3A3 ◂ sliders"]
    explorer.choose("Weight bits", "8")
    explorer.shows("W8A3")
    explorer.press("kmeans")
    explorer.after_change(POINTS, points)
    assert 0 in explorer.figure("histogram")["data"][1]["x"]
    assert "selector=kmeans" in explorer.page.url


def tap_channels_and_layers(explorer) -> None:
    def title(name: str) -> str:
        return explorer.figure(name)["title"]

    explorer.tap("heat map", 0.4, 0.4, lambda: re.match(r"Channel (1\d|2\d)", title("by image")))
    explorer.tap("strip", 0.98, 0.5, lambda: "layer=conv4" in explorer.page.url)


def zoom(explorer) -> None:
    names = ["picture hr", "picture float", "picture 3", "below 3"]

    def ranges() -> list:
        return [explorer.figure(name)["x"] for name in names]

    (start, end), *_ = before = ranges()
    box = explorer.element("picture float").bounding_box()
    explorer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    explorer.page.keyboard.down("Control")
    explorer.page.mouse.wheel(0, -300)
    explorer.page.keyboard.up("Control")

    def zoomed() -> bool:
        found = ranges()
        return found[0][1] - found[0][0] < 0.95 * (end - start) and all(x == found[0] for x in found)

    until(zoomed, explorer)
    explorer.press("2×", lambda: abs((end - start) / (ranges()[0][1] - ranges()[0][0]) - 2) < 0.01)
    explorer.press("1×", lambda: ranges() == before)


def stop(explorer) -> None:
    pictures = explorer.signature("picture 3")
    explorer.element("picture 3")
    explorer.choose("Network", "SRResNet ×4")  # whose calibration takes a while
    explorer.press("Stop")
    said = explorer.page.get_by_text("Stopped. Change any setting to continue.")
    said.wait_for()
    assert 0 <= said.bounding_box()["y"] < 200, "in sight, though the page is scrolled"
    assert explorer.signature("picture 3") == pictures
    explorer.choose("Network", "XLSR ×3")
    explorer.choose("Method", "minmax")
    explorer.after_change(("picture 3",), pictures)


def test_tabs_and_moves_leave_nothing_in_the_browser(explorer):
    """Bokeh's document there forgets no model that is taken out of the page."""
    explorer.open("?network=xlsr_x3&method=minmax&compared_bits=[3]")

    def round_trip() -> int:
        for step, bits in ((1, "W5A5"), (-1, "W4A4")):
            explorer.slide("Activation bits", step)
            explorer.shows(bits)
            explorer.settle()
        for tab, figure in (("layers", "layers alone"), ("explore", "heat map")):
            explorer.press(tab.title())
            until(lambda figure=figure: explorer.figure(figure), explorer)
            explorer.page.wait_for_function(f"{TAB} == '{tab}'")
            explorer.settle()
        return explorer.page.evaluate(MODELS)

    assert round_trip() == round_trip()


def test_back_shows_what_was_before(explorer):
    explorer.open("?network=xlsr_x3&compared_bits=[4]&activation_bits=3")
    explorer.slide("Activation bits", -1)
    explorer.page.wait_for_function("location.search.includes('activation_bits=2')")
    explorer.page.go_back()
    explorer.settle()
    assert "activation_bits=3" in explorer.page.url
    until(lambda: len(explorer.figure("histogram")["data"][1]["x"]) == 8, explorer)


def test_all_of_it_by_the_keyboard(explorer):
    """The Tab key passes every control in the order they stand; Enter opens a tab, Space ticks a box."""
    explorer.open('?network=xlsr_x3&compared_bits=[4]&tab=layers&details=["float"]')
    page, passed = explorer.page, []
    focused = (
        "() => { let a = document.activeElement; while (a.shadowRoot?.activeElement) "
        "a = a.shadowRoot.activeElement; return a.labels?.[0]?.innerText ?? a.innerText ?? ''; }"
    )
    while "conv1" not in passed:
        assert len(passed) < 120, passed
        page.keyboard.press("Tab")
        passed.append(page.evaluate(focused).strip())
    page.keyboard.press("Space")
    first = passed.index("Explore")
    assert passed[first : first + 6] == ["Explore", "Methods", "Layers", "Training", "Sweep", "Deployment"]
    page.wait_for_function("location.search.includes('float_layers=%5B%22conv1%22%5D')")
    for name, drawn in (("Layers", "layers alone"), ("Explore", "heat map")):
        page.get_by_role("button", name=name, exact=True).press("Enter")
        until(lambda drawn=drawn: explorer.figure(drawn), explorer)
        explorer.settle()


@pytest.mark.parametrize("theme", ["default", "dark"])
def test_tabs_look_as_they_should_and_every_text_reads_on_its_background(explorer, theme):
    explorer.open(f"?theme={theme}&network=xlsr_x3&compared_bits=[4]")
    for tab in TABS:
        explorer.press(tab.title())
        explorer.page.wait_for_function(f"{TAB} == '{tab}'")
        explorer.settle()
        explorer.press("Export", lambda: explorer.count("The same in Python"))
        assert not explorer.page.evaluate(CONTRAST), tab
        explorer.press("Close", lambda: not explorer.count("The same in Python"))
        explorer.painted()
        check_look(f"{tab}-{theme}", explorer.page.screenshot())


def test_theme_and_phone(chromium, server):
    phone = chromium.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    explorer = Explorer(phone.new_page(), server).open("?theme=dark&network=xlsr_x3&compared_bits=[4]")
    sidebar, button = (explorer.page.locator(name) for name in ("#sidebar", "#sidebar-button"))
    assert not sidebar.is_visible()
    assert explorer.page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    assert explorer.page.evaluate(BOX, "picture bicubic"), "the picture comes first"
    sheet = explorer.page.get_by_text("Bits: 4", exact=True).bounding_box()
    assert 600 < sheet["y"] < 844, "the bits are at hand at the foot"
    button.tap()
    sidebar.wait_for()
    button.tap()
    sidebar.wait_for(state="hidden")
    explorer.page.get_by_text("Sweep", exact=True).first.tap()
    explorer.page.get_by_text("Every dot is a configuration").wait_for()
    until(lambda: explorer.figure("sweep bits"), explorer)
    assert explorer.page.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()
    assert not explorer.complaints
