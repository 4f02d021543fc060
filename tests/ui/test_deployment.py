import json

import onnx
import pytest

from core import create_model
from core.deploy import OnnxNetwork, audit_onnx
from core.images import demo_image, make_lr
from core.images.metrics import psnr_y

pytestmark = pytest.mark.browser


def download(explorer, label):
    with explorer.page.expect_download() as waiting:
        explorer.page.get_by_text(label, exact=True).click()
    return waiting.value.path()


def test_the_tab_compares_variants_and_gives_the_file(explorer):
    explorer.open("?network=xlsr_x3&representatives=12")
    assert explorer.figure("outputs") is None, "the tab is not drawn before it is opened"
    explorer.page.get_by_text("Deployment", exact=True).click()
    explorer.page.get_by_text("14 of 14").first.wait_for(timeout=60_000)
    explorer.settle()
    assert len(explorer.figure("outputs")["data"][0]["top"]) > 20
    for name in ("deployed Float", "deployed INT8 with clip", "deployed INT8 clip-free"):
        assert len(explorer.figure(name)["data"][0]["image"]) > 50, name
    assert explorer.count(r"The outputs lie between −?\d\.\d{3} and \d\.\d{3}") == 1
    assert explorer.count(r"\d+\.\d\d dB · SSIM") == 3
    assert "tab=deployment" in explorer.page.url
    network = OnnxNetwork(onnx.load(download(explorer, "ONNX file")))
    lr = make_lr(demo_image("chelsea the cat (scikit-image)"), 3)[..., :40, :40]
    assert psnr_y(network(lr), create_model("xlsr", 3)(lr).detach(), border=3) > 30
    card = json.loads(download(explorer, "Its card").read_text())
    assert (card["network"], card["variant"]) == ("xlsr", "INT8 clip-free")
    assert set(card["layers"].values()) == {"INT8"}


def test_layers_kept_float_are_float_in_the_file(explorer):
    explorer.open("?network=xlsr_x3&tab=deployment&representatives=8&float_layers=[%22conv4%22]")
    assert explorer.count("13 of 14") == 2
    proto = onnx.load(download(explorer, "ONNX file"))
    assert [row.name for row in audit_onnx(proto) if row.reason] == ["conv4"]


def test_a_network_without_a_clip(explorer):
    explorer.open("?tab=deployment&representatives=8")
    assert explorer.count("EDSR has no clip at its end") == 1
    assert explorer.count("INT8 clip-free") == 0
    assert explorer.count("16 of ") == 1
