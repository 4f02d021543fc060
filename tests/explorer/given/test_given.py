"""Networks and images that a program brings: what is checked, what is kept, what is said."""

import copy
import re

import numpy as np
import pytest
import torch
from PIL import Image
from strangers import STRANGERS, stranger
from torch import nn

import core
from core.networks.folding import fold_parametrizations
from core.ptq.scope import choose_layers
from explorer.choices import sources
from explorer.given.images import given_images
from explorer.given.networks import given_network


class Shuffle(nn.Module):
    """x2 of four convs."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
        self.linear, self.idle = nn.Linear(3, 3), nn.Conv2d(3, 3, 1)
        self.tail = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        x = self.linear(self.convs(x).movedim(1, -1)).movedim(-1, 1)
        return nn.functional.pixel_shuffle(self.tail(x), 2)


class Mask(Shuffle):
    def forward(self, x, mask):
        return super().forward(x) * mask


class Classes(Shuffle):
    def forward(self, x):
        return self.convs(x).mean((2, 3))


class Broken(Shuffle):
    def forward(self, x):
        return self.missing(x)


def nan(model):
    model.tail.weight.data[0] = float("nan")
    return model


WRONG = {
    "scale": (Shuffle, dict(scale=3), "mine enlarges images by 2, and scale=3 was given; give scale=2"),
    "scale of 1": (lambda: nn.Conv2d(3, 3, 1), {}, "mine enlarges images by 1, and 2 to 8 can be shown"),
    "scale as text": (Shuffle, dict(scale="2"), "scale must be a whole number from 2 to 8, got '2'"),
    "two inputs": (Mask, {}, "asks for 'mask' beside the images; give a module that takes images alone"),
    "no picture": (Classes, {}, r"it returns \(1, 3\), no picture of a whole multiple"),
    "NaN": (lambda: nan(Shuffle()), {}, "mine gives a picture with NaN or infinite values"),
    "broken": (Broken, {}, "mine fails on an image: AttributeError, 'Broken' object has no attribute"),
    "no module": (lambda: "net.pth", {}, "must be a torch.nn.Module, got str; core.load_checkpoint"),
    "no layer": (nn.ReLU, {}, "ReLU holds no Conv2d"),
    "unknown layer": (Shuffle, dict(layers=["body"]), "no layer named body; there are convs.0"),
    "no conv": (Shuffle, dict(layers=["linear"]), "linear is no convolution, and only these can be shown"),
    "idle": (Shuffle, dict(layers=["idle"]), "its layer idle is never called; leave it out of layers"),
    "a sequence": (Shuffle, dict(layers=["convs"]), r"convs cannot be quantized \(Sequential is not"),
    "none": (Shuffle, dict(layers=lambda name, module: False), "no layer would be quantized .* convs.1"),
    "two convs": (
        lambda: nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)),
        {},
        "no layer would be quantized .every learned conv but the first and the last",
    ),
    "range": (Shuffle, dict(top=-1), "the range must end above 0, such as 255, got -1"),
    "calibration": (Shuffle, dict(calibration=torch.rand(3, 8, 8)), r"must be a tensor of shape \(N, 3"),
    "no calibration": (Shuffle, dict(calibration=[]), "calibration holds no image"),
    "much": (Shuffle, dict(calibration=torch.zeros(1, 3, 1600, 1600)), "calibration has 2,560,000 pixels"),
    "quantized": (
        lambda: core.quantize_model(Shuffle(), torch.rand(1, 3, 16, 16), core.QuantConfig("minmax")),
        {},
        "it is quantized already, and the explorer starts from float weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_network_that_cannot_be_shown_is_one_sentence(what):
    make, options, sentence = WRONG[what]
    with pytest.raises(ValueError, match=sentence) as said:
        given_network("mine", make(), **options)
    assert "\n" not in str(said.value)
    assert "mine" in str(said.value)


@pytest.mark.parametrize("name", STRANGERS)
def test_networks_written_elsewhere_are_taken(name):
    network = stranger(name)
    found = given_network(name, network)
    assert found.scale == 2
    names, _ = choose_layers(fold_parametrizations(network), None, torch.rand(1, 3, 24, 24))
    assert list(found.layers) == names
    assert f"Quantized: {len(names)} of " in found.about
    lr = torch.rand(1, 3, 24, 24)
    assert torch.allclose(core.super_resolve(found.make(), lr), core.super_resolve(network, lr), atol=1e-5)


def test_it_is_a_copy_on_the_cpu_in_float_and_eval_mode():
    network = stranger("EvalBranch").train().half()
    before = copy.deepcopy(network.state_dict())
    made = given_network("mine", network).make()
    assert not made.training
    assert {p.dtype for p in made.parameters()} == {torch.float32}
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    network.head.weight.data.zero_()
    assert made.head.weight.abs().max() > 0


def test_a_scope_of_ones_own_becomes_that_of_the_copy():
    network = Shuffle()
    by_name = given_network("mine", network, layers=["convs.1", "tail"])
    by_rule = given_network("mine", network, layers=lambda name, module: name in ("convs.1", "tail"))
    for found in (by_name, by_rule):
        assert found.layers == {"convs.1": 3, "tail": 3}
        assert not found.default_scope
        quantized = core.quantize_model(
            copy.deepcopy(found.make()), torch.rand(1, 3, 16, 16), core.QuantConfig("minmax")
        )
        assert [row.name for row in core.audit(quantized) if not row.reason] == ["convs.1", "tail"]
    assert not hasattr(network, "quantized_scope")


def test_the_key_is_that_of_what_is_computed():
    torch.manual_seed(3)
    network = Shuffle()
    key = given_network("mine", network).key
    assert given_network("mine", copy.deepcopy(network)).key == key
    assert given_network("mine", network, layers=["tail"]).key != key
    assert given_network("mine", network, calibration=torch.rand(1, 3, 16, 16)).key != key
    assert given_network("mine", network, top=2.0).key != key
    network.idle.weight.data += 1
    assert given_network("mine", network).key != key


def test_images_of_several_sizes_become_patches():
    one = given_network("mine", Shuffle(), calibration=torch.rand(5, 3, 20, 24))
    assert one.patches.shape == (5, 3, 20, 24)
    several = [torch.rand(1, 3, 40, 60), torch.rand(2, 3, 50, 30)]
    assert given_network("mine", Shuffle(), calibration=several).patches.shape == (32, 3, 30, 30)


def test_a_network_worse_than_bicubic_says_so_and_a_good_one_does_not():
    assert "where bicubic enlargement reaches" in given_network("mine", Shuffle()).about
    assert "(range=255)" in given_network("mine", Shuffle()).about
    assert "bicubic" not in given_network("good", core.create_model("xlsr", 3)).about


def test_the_code_says_what_is_to_be_put_in():
    found = given_network("mine", Shuffle(), 2)
    assert found.code == "...  # put your network 'mine' in here: Shuffle ×2, 612 parameters"
    assert found.stem == "mine_x2"
    assert given_network("mine", Shuffle(), top=255).code.startswith("core.unit_range(..., 255, 2)  # put")
    made = given_network("mine", Shuffle(), top=255, code="make()")
    assert made.code == "core.unit_range(make(), 255, 2)"


# Images


def picture(height=70, width=90):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_every_kind_of_image_is_the_same_image(tmp_path):
    array = picture()
    tensor = torch.from_numpy(array).movedim(-1, 0) / 255
    path = tmp_path / "street.png"
    Image.fromarray(array).save(path)
    kinds = dict(
        a=array, b=array / 255, c=tensor, d=tensor[None], e=Image.fromarray(array), f=path, g=str(path)
    )
    found = given_images(kinds, False)
    assert [image.name for image in found.values()] == list(kinds)
    assert all(np.array_equal(image.pixels, array) for image in found.values())
    assert not any(image.pixels.flags.writeable or image.is_lr for image in found.values())
    assert given_images([tmp_path], True).popitem()[1].name == "street.png"
    assert [image.name for image in given_images([array, path], True).values()] == ["image 1", "street.png"]
    grey = given_images({"grey": array[..., 0]}, False).popitem()[1].pixels
    assert np.array_equal(grey, array[..., :1].repeat(3, 2))
    assert given_images(None, False) == {}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (3.0, "x is a float; give a tensor, an array, a Pillow image or a path"),
        (picture().astype(float), "x has values up to 255; give uint8, or divide by 255"),
        (picture().astype(np.int64), "x holds int64; give uint8, or floating point in [0, 1]"),
        (np.full((70, 70, 3), np.nan), "x holds NaN or infinity"),
        (torch.rand(2, 3, 70, 70), "x has the shape (2, 3, 70, 70); give a tensor (1, 3, H, W) or an array"),
        (picture(40, 90), "x has 90×40 pixels; at least 64×64 are needed"),
        ("nowhere.png", "x: no image at nowhere.png"),
    ],
)
def test_what_is_no_image_is_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        given_images({"x": wrong}, False)


# Holding


def test_what_two_hold_stays_until_both_let_go():
    network = given_network("mine", Shuffle())
    key = network.key
    for _ in range(2):
        sources.hold({key: network})
    sources.release([key])
    assert sources.source(key) is network
    sources.release([key])
    with pytest.raises(ValueError, match="mine is no longer loaded; choose it again"):
        sources.source(key)
