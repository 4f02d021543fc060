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


def test_the_tab_draws_variants_and_gives_the_file(explorer):
    explorer.open("?network=xlsr_x3&tab=deployment&representatives=12&float_layers=[%22conv4%22]")
    explorer.shows("13 of 14", 2)
    for name in ("deployed Float", "deployed INT8 with clip", "deployed INT8 clip-free"):
        assert len(explorer.figure(name)["data"][0]["image"]) > 50, name
    proto = onnx.load(download(explorer, "ONNX file"))
    assert [row.name for row in audit_onnx(proto) if row.reason] == ["conv4"]
    lr = make_lr(demo_image("chelsea the cat (scikit-image)"), 3)[..., :40, :40]
    assert psnr_y(OnnxNetwork(proto)(lr), create_model("xlsr", 3)(lr).detach(), border=3) > 30
    card = json.loads(download(explorer, "ONNX card").read_text())
    assert (card["network"], card["variant"]) == ("xlsr", "INT8 clip-free")
    assert [name for name, kind in card["layers"].items() if kind != "INT8"] == ["conv4"]
