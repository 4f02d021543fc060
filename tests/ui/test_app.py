import re

import pytest
from browser import Explorer, until

pytestmark = pytest.mark.browser

DISTRIBUTIONS = ("heat map", "spread", "by image")
POINTS = ("histogram", "staircase")
PICTURES = ("picture 4", "picture 2", "picture 8", "difference")


def test_default_view_shows_all_three_undimmed(explorer):
    explorer.open()
    assert len(explorer.figure("heat map")["data"][0]["image"]) > 50
    assert len(explorer.figure("histogram")["data"][1]["x"]) == 16
    for name in ("picture hr", "picture bicubic", "picture float", "picture 2", "picture 4", "picture 8"):
        assert len(explorer.figure(name)["data"][0]["image"]) > 50, name
    assert explorer.count(r"\d+\.\d\d dB · SSIM 0\.\d{3}") >= 5
    assert explorer.count("377 points, grid step 1/1,024") == 1
    assert explorer.count("stays float") == 1
    explorer.page.wait_for_timeout(500)
    for name in ("HR, ground truth", "Float SR", "W4A4"):
        tile = explorer.page.get_by_text(name).first
        opacity = "(e) => { let o = 1; while (e) { o *= getComputedStyle(e).opacity; "
        opacity += "e = e.parentElement ?? e.getRootNode().host; } return o; }"
        assert tile.evaluate(opacity) == 1, name


def test_what_points_and_distributions_follow(explorer):
    explorer.open("?compared_bits=[4]")
    points, distributions = explorer.signature(*POINTS), explorer.signature(*DISTRIBUTIONS)
    explorer.slide("Activation bits", -1)
    points = explorer.after_change(POINTS, points)
    assert len(explorer.figure("histogram")["data"][1]["x"]) == 8
    assert explorer.count("W3A3")

    pictures = explorer.signature("picture 4")
    explorer.choose("Weight bits", "8")
    pictures = explorer.after_change(("picture 4",), pictures)
    assert explorer.count("W8A3")
    assert explorer.signature(*POINTS) == points, "weights have no part in it"

    explorer.press("kmeans")
    points = explorer.after_change(POINTS, points)
    assert explorer.signature("picture 4") != pictures
    assert 0 in explorer.figure("histogram")["data"][1]["x"]

    explorer.slide("Words", -1)
    points = explorer.after_change(POINTS, points)
    assert explorer.count("107 points, grid step 1/384")
    assert len(explorer.figure("histogram")["data"][3]["x"]) == 107
    explorer.slide("Terms", -1)
    points = explorer.after_change(POINTS, points)
    assert explorer.count("39 points")
    assert explorer.signature(*DISTRIBUTIONS) == distributions, "they are of the float network"

    pictures = explorer.signature("picture 4")
    explorer.choose("Layer", "body.2.body.2")
    distributions = explorer.after_change(DISTRIBUTIONS, distributions)
    assert explorer.figure("heat map")["title"] == "body.2.body.2 (post-ReLU)"
    points = explorer.signature(*POINTS)
    explorer.slide("Channel", 3)
    points = explorer.after_change(POINTS, points)
    assert explorer.figure("by image")["title"].startswith("Channel 3")
    assert explorer.signature("picture 4") == pictures, "layer and channel are only looked at"

    tap(explorer, "heat map", 0.4, 0.4)
    explorer.after_change(POINTS, points)
    title = explorer.figure("by image")["title"]
    assert re.match(r"Channel (1\d|2\d)", title), title
    assert len(explorer.figure("mismatch of means")["data"][0]["rank"]) == 16
    distributions = explorer.signature(*DISTRIBUTIONS)
    tap(explorer, "mismatch of deviations", 0.98, 0.4)
    explorer.after_change(DISTRIBUTIONS, distributions)
    assert explorer.figure("heat map")["title"].startswith("body.7.body.2")


def tap(explorer, name: str, right: float, down: float) -> None:
    """On the figure of that name, at shares of its width and height."""
    box = explorer.element(name).bounding_box()
    explorer.page.mouse.click(box["x"] + box["width"] * right, box["y"] + box["height"] * down)


def test_pictures_side_by_side(explorer):
    explorer.open("?compared_bits=[2]")
    assert not explorer.count("W6A6")
    before = explorer.signature("picture 6")
    explorer.press("6")
    explorer.after_change(("picture 6",), before)
    assert explorer.count("W6A6")

    before = explorer.signature("left", "difference")
    explorer.choose("Left", "HR")
    explorer.after_change(("left", "difference"), before)
    right = explorer.signature("right")
    explorer.choose("Right", "8 bits")
    explorer.after_change(("right",), right)

    names = ["picture hr", "picture float", "picture 4", "left", "difference"]
    before = explorer.figure("picture hr")["x"]
    box = explorer.element("picture float").bounding_box()
    explorer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    explorer.page.mouse.wheel(0, -300)
    explorer.page.wait_for_timeout(300)
    zoomed = [explorer.figure(name)["x"] for name in names]
    assert zoomed[0][1] - zoomed[0][0] < 0.95 * (before[1] - before[0])
    assert all(x == zoomed[0] for x in zoomed), "zoom is linked"
    explorer.press("Reset zoom")
    until(lambda: explorer.figure("picture 4")["x"] == before, explorer)

    names = ("picture hr", *PICTURES)
    pictures = explorer.signature(*names)
    explorer.choose("Image", "chelsea the cat (scikit-image)")
    pictures = explorer.after_change(names, pictures)
    explorer.press("Whole image")
    explorer.after_change(names, pictures)
    assert explorer.figure("picture hr")["data"][0]["dw"] == [444]

    pictures = explorer.signature("picture 4")
    explorer.choose("Weight bits", "7")
    pictures = explorer.after_change(("picture 4",), pictures)
    explorer.choose("Method", "dfsq+")
    explorer.page.get_by_text(re.compile(r"(Measuring|Rounding|Super-resolving).* %")).wait_for()
    explorer.press("Stop")
    said = explorer.page.get_by_text("Stopped. Change any setting to continue.")
    said.wait_for()
    assert 0 <= said.bounding_box()["y"] < 200, "in sight, though the page is scrolled"
    explorer.page.wait_for_timeout(2000)
    assert explorer.signature("picture 4") == pictures
    assert explorer.count(r"Stopped\. Change any setting") == 1
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
    explorer = Explorer(phone.new_page(), server).open("?theme=dark")
    assert not explorer.page.locator("#sidebar").is_visible()
    assert explorer.page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    explorer.page.locator("#sidebar-button").tap()
    assert explorer.page.locator("#sidebar").is_visible()
    phone.close()
    assert not explorer.complaints
