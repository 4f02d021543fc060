import re

import pytest
from browser import Explorer, until

from explorer.page.tour import LESSONS

pytestmark = pytest.mark.browser

DISTRIBUTIONS = ("heat map", "spread", "by image")
POINTS = ("histogram", "staircase")
OPACITY = """(e) => { let o = 1; while (e) { o *= getComputedStyle(e).opacity;
  e = e.parentElement ?? e.getRootNode().host; } return o; }"""


def test_default_view_shows_all_three_undimmed_and_the_tour_opens_its_states(explorer):
    explorer.open()
    assert len(explorer.figure("heat map")["data"][0]["image"]) > 50
    assert len(explorer.figure("histogram")["data"][1]["x"]) == 16
    for name in ("picture hr", "picture bicubic", "picture float", "picture 2", "picture 4", "picture 8"):
        assert len(explorer.figure(name)["data"][0]["image"]) > 50, name
    assert explorer.count(r"\d+\.\d\d dB · SSIM 0\.\d{3}") >= 5
    assert explorer.count("377 points, grid step 1/1,024") == 1
    assert explorer.count("stays float") == 1
    explorer.page.wait_for_timeout(500)  # what is dimmed for longer than that stays so
    for name in ("HR, ground truth", "Float SR", "W4A4"):
        assert explorer.page.get_by_text(name).first.evaluate(OPACITY) == 1, name
    explorer.page.get_by_text("Five questions to begin with").click()
    explorer.page.get_by_text(LESSONS[0].question).click()
    explorer.page.wait_for_url("**layer=body.0.body.0**")
    explorer.settle()
    assert len(explorer.figure("heat map")["data"][0]["image"]) > 50
    assert explorer.page.get_by_text(LESSONS[0].question).is_visible(), "the tour is open on its way"


def test_what_a_hand_does(explorer):
    explorer.open("?network=xlsr_x3&layer=Gblocks.0.conv0")
    slide_and_choose(explorer)
    tap_channels_and_layers(explorer)
    zoom(explorer)
    stop(explorer)


def slide_and_choose(explorer) -> None:
    points = explorer.signature(*POINTS)
    explorer.slide("Activation bits", -1)
    points = explorer.after_change(POINTS, points)
    assert len(explorer.figure("histogram")["data"][1]["x"]) == 8
    explorer.choose("Weight bits", "8")
    until(lambda: explorer.count("W8A3"), explorer)
    explorer.press("kmeans")
    explorer.after_change(POINTS, points)
    assert 0 in explorer.figure("histogram")["data"][1]["x"]
    assert "selector=kmeans" in explorer.page.url


def tap_channels_and_layers(explorer) -> None:
    def title(name: str) -> str:
        return explorer.figure(name)["title"]

    explorer.tap("heat map", 0.4, 0.4, lambda: re.match(r"Channel (1\d|2\d)", title("by image")))
    explorer.tap("mismatch of deviations", 0.98, 0.4, lambda: title("heat map").startswith("conv4"))


def zoom(explorer) -> None:
    names = ["picture hr", "picture float", "picture 4", "left", "difference"]

    def ranges() -> list:
        return [explorer.figure(name)["x"] for name in names]

    (start, end), *_ = before = ranges()
    box = explorer.element("picture float").bounding_box()
    explorer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    explorer.page.mouse.wheel(0, -300)

    def zoomed() -> bool:
        found = ranges()
        return found[0][1] - found[0][0] < 0.95 * (end - start) and all(x == found[0] for x in found)

    until(zoomed, explorer)
    explorer.press("Reset zoom")
    until(lambda: ranges() == before, explorer)


def stop(explorer) -> None:
    pictures = explorer.signature("picture 4")
    explorer.element("picture 4")
    explorer.choose("Method", "dfsq+")
    explorer.press("Stop")
    said = explorer.page.get_by_text("Stopped. Change any setting to continue.")
    said.wait_for()
    assert 0 <= said.bounding_box()["y"] < 200, "in sight, though the page is scrolled"
    assert explorer.signature("picture 4") == pictures
    explorer.choose("Method", "minmax")
    explorer.after_change(("picture 4",), pictures)


def test_back_shows_what_was_before(explorer):
    explorer.open("?network=xlsr_x3&compared_bits=[4]&activation_bits=3")
    explorer.slide("Activation bits", -1)
    explorer.page.wait_for_function("location.search.includes('activation_bits=2')")
    explorer.page.go_back()
    explorer.settle()
    assert "activation_bits=3" in explorer.page.url
    until(lambda: len(explorer.figure("histogram")["data"][1]["x"]) == 8, explorer)


def test_tabs_and_lists_by_the_keyboard(explorer):
    """The Tab key passes every control in the order they stand; Enter opens a tab, Space ticks a box."""
    explorer.open("?network=xlsr_x3&compared_bits=[4]&tab=training")
    page, passed = explorer.page, []
    focused = (
        "() => { let a = document.activeElement; while (a.shadowRoot?.activeElement) "
        "a = a.shadowRoot.activeElement; return a.labels?.[0]?.innerText ?? a.innerText ?? ''; }"
    )
    while "Deployment" not in passed:
        assert len(passed) < 120, passed
        page.keyboard.press("Tab")
        passed.append(page.evaluate(focused).strip())
        if passed[-1] == "conv1":
            page.keyboard.press("Space")
    assert passed[-6:] == ["Explore", "Methods", "Layers", "Training", "Sweep", "Deployment"]
    assert passed.count("conv1") == 1
    page.wait_for_function("location.search.includes('float_layers=%5B%22conv1%22%5D')")
    for name, drawn in (("Layers", "layers alone"), ("Explore", "heat map")):
        page.get_by_role("button", name=name, exact=True).press("Enter")
        until(lambda drawn=drawn: explorer.figure(drawn), explorer)
        explorer.settle()


def test_theme_and_phone(chromium, server):
    phone = chromium.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    explorer = Explorer(phone.new_page(), server).open("?theme=dark&network=xlsr_x3&compared_bits=[4]")
    sidebar, button = (explorer.page.locator(name) for name in ("#sidebar", "#sidebar-button"))
    assert not sidebar.is_visible()
    assert explorer.page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
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
