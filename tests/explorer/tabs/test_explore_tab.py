"""What a visitor's choices make of the tab Explore and of the sidebar, without a browser."""

import pytest
from headless import Visitor, photo
from safetensors.torch import save_file

import core
from explorer.jobs.latest import SLOW

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tabs")]

DISTRIBUTIONS = ("heat map", "spread", "by image")
POINTS = ("histogram", "staircase")


def title(visitor, name: str) -> str:
    return visitor.figure(name).title.text


def width(visitor) -> int:
    return visitor.data("picture float")["dw"][0]


def test_what_points_and_distributions_follow():
    visitor = Visitor(network="xlsr_x3", compared_bits=[4], details=["set", "spread", "by image"])
    points, distributions = visitor.drawn(*POINTS), visitor.drawn(*DISTRIBUTIONS)
    visitor.move("Activation bits", 3)
    assert visitor.drawn(*POINTS) != points
    assert len(visitor.levels()) == 8
    assert visitor.count("W3A3")
    assert not visitor.count("W4A4"), "the tile nearest to the slider follows it"
    pictures = visitor.drawn("picture 3")

    points = visitor.drawn(*POINTS)
    visitor.move("Weight bits", 8)
    assert visitor.count("W8A3")
    assert visitor.drawn("picture 3") != pictures
    assert visitor.drawn(*POINTS) == points, "weights have no part in it"

    pictures = visitor.drawn("picture 3")
    visitor.choose(selector="kmeans")
    assert visitor.drawn(*POINTS) != points
    assert visitor.drawn("picture 3") != pictures
    assert 0 in visitor.levels()

    visitor.move("Words", 3)
    assert visitor.widget("Universal set: 107 points")
    assert visitor.count("grid step 1/384")
    assert len(visitor.data("histogram", 3)["x"]) == 107
    visitor.move("Terms", 3)
    assert visitor.widget("Universal set: 39 points")
    assert visitor.drawn(*DISTRIBUTIONS) == distributions, "they are of the float network"

    pictures = visitor.drawn("picture 3")
    visitor.move("Layer", "Gblocks.0.conv1")
    assert visitor.drawn(*DISTRIBUTIONS) != distributions
    points = visitor.drawn(*POINTS)
    visitor.move("Channel", 3)
    assert visitor.drawn(*POINTS) != points
    assert title(visitor, "by image").startswith("Channel 3")
    assert visitor.drawn("picture 3") == pictures, "layer and channel are only looked at"


def test_pictures_side_by_side():
    visitor = Visitor(network="xlsr_x3", compared_bits=[2, 8], references=["hr", "float"])
    assert not visitor.count("W6A6")
    visitor.choose(compared_bits=[2, 4, 6, 8])
    assert visitor.count("W6A6")
    assert visitor.count("HR, ground truth")
    assert not visitor.count("Bicubic")
    below = visitor.drawn("below 2")
    visitor.move("Difference", "float")
    assert visitor.drawn("below 2") != below
    assert len(visitor.data("below float")["image"]) == 0, "nothing differs from itself"
    visitor.move("Difference", "")
    assert visitor.figure("below 2") is None

    names = ("picture hr", "picture 2", "picture 4", "picture 8")
    before = [visitor.drawn(name) for name in names]
    visitor.move("Image", "chelsea the cat (scikit-image)")
    assert all(visitor.drawn(name) != was for name, was in zip(names, before, strict=True))
    visitor.choose(region="whole")
    assert visitor.data("picture hr")["dw"] == [444]


def test_a_tapped_picture_becomes_large_beside_float():
    visitor = Visitor(network="xlsr_x3", compared_bits=[2])
    assert visitor.figure("large left") is None
    visitor.visit.made["explore"].pictures.enlarge(2)
    visitor.settle()
    state = visitor.state
    assert (state.left, state.right, state.details) == ("2", "float", ["large"])
    left, right, difference = (
        visitor.drawn(name) for name in ("large left", "large right", "large difference")
    )
    visitor.move("Left", "hr")
    assert visitor.drawn("large left") != left
    assert visitor.drawn("large difference") != difference
    visitor.move("Right", "8")
    assert visitor.drawn("large right") != right


def test_all_pictures_zoom_within_their_frames():
    visitor = Visitor(network="xlsr_x3", compared_bits=[4])
    view = visitor.visit.made["explore"].pictures.view
    window = view.window
    figure = visitor.figure("picture 4")
    assert figure.toolbar.active_drag is None, "a finger on a whole picture scrolls the page"
    window.zoom(4)
    side = window.x_range.end - window.x_range.start
    assert side == 96
    assert window.x_range.bounds == (0, 384)
    assert figure.toolbar.active_drag is not None
    window.x_range.update(start=-50, end=46)
    window.zoom(2)
    assert window.x_range.start == 0, "nothing beyond the picture is shown"
    assert view.zoom.value == 2
    for axis in (window.x_range, window.y_range):
        axis.update(start=30, end=330)  # by a wheel
    assert view.zoom.value is None
    assert figure.toolbar.active_drag is not None, "what a wheel enlarged can be dragged"
    view.zoom.value = 1
    assert (window.x_range.start, window.x_range.end) == (0, 384)
    assert figure.toolbar.active_drag is None
    window.zoom(2)
    visitor.choose(image="chelsea the cat (scikit-image)", region="whole")
    assert figure.toolbar.active_drag is None
    assert view.zoom.value == 1


def test_what_is_stopped_changes_nothing_until_the_next_choice():
    visitor = Visitor(network="xlsr_x3", compared_bits=[4], weight_bits=7)
    pictures = visitor.drawn("picture 4")
    visitor.state.method = "dfsq+"
    visitor.press("Stop")
    visitor.until(lambda: SLOW.idle)
    assert visitor.drawn("picture 4") == pictures
    assert visitor.count(r"Stopped\. Change any setting to continue\.") == 1
    visitor.move("Method", "minmax")
    assert visitor.drawn("picture 4") != pictures
    assert visitor.count("Ready") == 1


# Points by hand


def test_written_points_and_a_link_to_them():
    visitor = Visitor(network="xlsr_x3", activation_bits=2, compared_bits=[2], details=["by hand"])
    visitor.choose(hand=[-512, 0, 512], hand_layer=True)
    assert visitor.levels() == [-0.5, 0, 0.5]
    assert len(visitor.data("picture hand")["image"][0]) > 50
    field = visitor.widget("All points")
    assert field.value == "-0.5, 0, 0.5"
    visitor.move("All points", "-1 -0.5 0 0.5 1")
    assert visitor.count("2 bits allow 4 points, and these are 5") == 1
    before = visitor.drawn("picture hand")
    visitor.move("All points", "-0.75, -0.25, 0.25, 0.75")
    assert visitor.drawn("picture hand") != before
    assert visitor.count("and these are 5") == 0
    assert visitor.levels() == [-0.75, -0.25, 0.25, 0.75]
    assert visitor.count("above the optimum") == 1
    visitor.press("Reset points")
    assert len(visitor.levels()) == 4
    assert visitor.count("By hand, ") == 0
    assert field.value == ""
    assert visitor.shown(field)
    visitor.move("Method", "minmax")
    assert not visitor.shown(field), "its levels are no choice of points"


# Files of a visitor's own


def test_an_image_of_ones_own():
    visitor = Visitor(
        network="xlsr_x3",
        compared_bits=[8],
        references=["hr", "bicubic", "float"],
        details=["protocol", "export"],
    )
    visitor.take("photo.png", photo(402))
    assert visitor.widget("Image").options["own: photo.png, as HR"] == visitor.state.image
    assert visitor.count(r"reduction of photo\.png") == 1
    assert width(visitor) == 384
    assert visitor.count("against float SR") == 0
    assert visitor.count("yours is not among them") == 1
    assert visitor.count("HR, ground truth") == 1

    before = visitor.drawn("picture float")
    visitor.choose(region="300,600")
    assert visitor.drawn("picture float") != before
    assert visitor.widget("Across / %").value == 30
    visitor.move("Across / %", 31.5)
    assert visitor.state.region == "315,600"

    visitor.session.uploads.use_as(True)
    visitor.settle()
    assert visitor.count("the others are scored against it") == 1
    assert visitor.count("HR, ground truth") == 0
    assert visitor.count(r"dB · SSIM 0\.\d+ against float SR") == 2
    assert visitor.count("has no ground truth") == 1
    visitor.choose(region="whole")
    assert width(visitor) == 3 * 402
    assert visitor.count("Computed in tiles of 320×320 LR pixels") == 1
    assert visitor.count(r"core\.load_image\('photo\.png'\)") == 1

    visitor.press("Remove")
    assert visitor.state.image == "astronaut (scikit-image)"
    assert visitor.count("HR, ground truth") == 1


def network_file(tmp_path) -> bytes:
    path = tmp_path / "mine.safetensors"
    state = core.create_model("xlsr", 3).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path.read_bytes()


def test_a_network_of_ones_own(tmp_path):
    visitor = Visitor(network="xlsr_x3", compared_bits=[4], image="chelsea the cat (scikit-image)")
    names = ("heat map", "histogram", "picture bicubic", "picture 4")
    bundled, content = visitor.drawn(*names), network_file(tmp_path)
    visitor.take("mine.safetensors", content)
    own = visitor.state.network
    assert visitor.widget("Network").options["own: mine.safetensors"] == own
    assert visitor.count("XLSR ×3, 22 k parameters, your file") == 1
    assert visitor.drawn(*names) == bundled, "they are the same weights"

    visitor.take("mine.safetensors", content[:5000])
    assert visitor.count(r"mine\.safetensors is not a readable checkpoint") == 1
    assert visitor.state.network == own
    assert visitor.drawn(*names) == bundled, "what is wrong changes nothing"

    visitor.choose(tab="methods")
    assert len(visitor.data("method percentile")["image"][0]) > 50
    visitor.choose(tab="layers")
    assert len(visitor.column("layers alone", "layer")) == 14
    visitor.choose(tab="training")
    assert visitor.count("No run yet") == 1
