import contextlib
import csv
import datetime
import io
import re
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import core
from explorer.choices.state import ExplorerState
from explorer.choices.visitor_files import VisitorFiles
from explorer.export import files, report, script
from explorer.jobs.token import Token
from explorer.pipeline import pictures

XLSR = dict(network="xlsr_x3", activation_bits=3)


def plain(**choices) -> ExplorerState:
    return ExplorerState(**XLSR, **choices)


def kept_float() -> ExplorerState:
    state = plain()
    state.float_layers = state.param.layer.objects[:2]
    return state


def by_hand() -> ExplorerState:
    state = plain()
    state.layer, state.channel = state.param.layer.objects[1], 2
    state.hand = [-512, 0, 300, 512]
    return state


def by_hand_in_all_channels() -> ExplorerState:
    state = plain(hand_layer=True, region="whole")
    state.hand = [-512, 0, 300, 512]
    return state


def trained() -> ExplorerState:
    state = ExplorerState(activation_bits=2)
    state.method = "odm"
    return state


STATES = {
    "default": plain,
    "minmax, weights of 8 bits": partial(plain, method="minmax", weight_bits=8),
    "another set and selector": partial(plain, words=3, selector="kmeans"),
    "dfsq+": partial(plain, method="dfsq+"),
    "layers kept float": kept_float,
    "points by hand": by_hand,
    "points by hand in all channels": by_hand_in_all_channels,
    "trained": trained,
}


@pytest.mark.parametrize(("role", "size"), [("hr", (641, 477)), ("lr", (361, 203))])
def test_the_code_reads_files_of_ones_own(role, size, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save("my 'photo'.png")
    weights = core.create_model("xlsr", 3).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, "mine.safetensors")
    mine, state, told = VisitorFiles(), ExplorerState(activation_bits=3), io.StringIO()
    for name in ("my 'photo'.png", "mine.safetensors"):
        mine.add(name, (tmp_path / name).read_bytes())
    state.offer_uploads(mine.labels("network"), mine.labels("hr", "lr"))
    (state.network,), (state.image,) = mine.labels("network").values(), mine.labels(role).values()
    state.region = "whole" if role == "lr" else "300,610"
    code = script.code(state)
    assert ("tile=320" in code) == (role == "lr")
    with contextlib.redirect_stdout(told):
        exec(code, {})
    shown = pictures.picture(state.network, state.image, state.region, state.configs()(3))
    psnr, ssim = map(float, re.findall(r"\d+\.\d+", told.getvalue()))
    assert psnr == pytest.approx(shown.psnr, abs=0.011)
    assert ssim == pytest.approx(shown.ssim, abs=0.0011)
    assert told.getvalue().endswith("against float SR\n") == (role == "lr")
    with zipfile.ZipFile(io.BytesIO(files.archive(state))) as inside:
        assert ("hr.png" in inside.namelist()) == (role == "hr")
        scores = inside.read("scores.csv").decode()
    assert ("float SR" in scores) == (role == "lr")
    mine.close()


@pytest.mark.parametrize("name", STATES)
def test_the_code_makes_the_same_picture(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, told = STATES[name](), io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(script.code(state), {})
    bits, hand = state.activation_bits, None
    if state.by_hand():
        hand = pictures.Hand(state.layer, None if state.hand_layer else state.channel, state.by_hand())
    where = (state.network, state.image, state.region)
    shown = pictures.picture(*where, state.configs()(bits), tuple(state.float_layers), hand)
    psnr, ssim = map(float, re.findall(r"\d+\.\d+", told.getvalue()))
    assert psnr == pytest.approx(shown.psnr, abs=0.011)
    assert ssim == pytest.approx(shown.ssim, abs=0.0011)
    own = core.load_quantized(tmp_path / script.checkpoint_name(state)).state_dict()
    (tmp_path / "taken.safetensors").write_bytes(files.checkpoint(state))
    for key, value in core.load_quantized(tmp_path / "taken.safetensors").state_dict().items():
        assert np.allclose(value, own[key], atol=1e-6), key


def test_names_of_files_are_text_in_the_report(tmp_path):
    """A browser makes no element of a file's name."""
    weights = core.create_model("xlsr", 3).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, tmp_path / "mine.safetensors")
    mine, state = VisitorFiles(), ExplorerState(compared_bits=[8])
    mine.add("<i id=x>net.safetensors", (tmp_path / "mine.safetensors").read_bytes())
    small = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    Image.fromarray(small).save(tmp_path / "photo.png")
    mine.add("</title><i id=y>.png", (tmp_path / "photo.png").read_bytes())
    state.offer_uploads(mine.labels("network"), mine.labels("hr"))
    (state.network,), (state.image,) = mine.labels("network").values(), mine.labels("hr").values()
    text = report.report(state).decode()
    assert "<h1>Quantization of &lt;i id=x&gt;net.safetensors</h1>" in text
    assert "<title>Quantization of &lt;i id=x&gt;net.safetensors</title>" in text
    assert "<i id=" not in text
    mine.close()


def test_levels_of_every_channel():
    state = ExplorerState(**XLSR)
    rows = list(csv.DictReader(files.levels(state).decode().splitlines()))
    assert len(rows) == 8 * (state.param.channel.bounds[1] + 1)
    points = core.UniversalSet().points
    assert all(np.abs(points - float(row["level / normalized activation"])).min() < 1e-9 for row in rows)
    state.float_layers = [state.layer]
    with pytest.raises(ValueError, match="kept float and has no levels"):
        files.levels(state)


def test_pictures_and_their_scores():
    state = ExplorerState(**XLSR, compared_bits=[2, 8])
    with zipfile.ZipFile(io.BytesIO(files.archive(state))) as inside:
        names = {"hr", "bicubic", "float_sr", "w3a3", "w8a8"}  # 3 bits are the slider's
        assert {*inside.namelist()} == {f"{name}.png" for name in names} | {"scores.csv", "state.py"}
        picture = np.array(Image.open(io.BytesIO(inside.read("float_sr.png"))))
        rows = {
            row["picture"]: row for row in csv.DictReader(inside.read("scores.csv").decode().splitlines())
        }
    float_sr = pictures.picture(state.network, state.image, state.region, "float")
    assert np.array_equal(picture, float_sr.rgb)
    assert float(rows["float_sr"]["psnr_y / dB"]) == float_sr.psnr
    assert rows["hr"]["psnr_y / dB"] == ""


def test_what_cannot_be_made_is_left_out():
    titles = [title for title, _, _ in files.shown(ExplorerState(**XLSR, words=1, terms=4))]
    assert "W2A2" in titles
    assert "W8A8" not in titles


def test_the_report_stands_alone():
    state = ExplorerState(**XLSR)
    state.hand = [-512, 0, 512]
    said = []
    text = report.report(state, Token(lambda what, share: said.append(what))).decode()
    assert text.count("<figure><img alt=") == 8
    assert text.count('<img alt="Difference of ') == 7  # all but the ground truth
    assert said
    main = text[text.index("<main>") : text.index("</main>")]
    style = text[text.index("<style>\nmain") :].split("</style>")[0]
    assert "margin: 24px auto" in style
    assert "body {" not in style  # whose margins Bokeh's own style takes away
    for method in state.methods:
        assert f"<td>{method}</td><td>" in main
    for layer in state.param.layer.objects:
        assert f"<td>{layer}</td><td>" in main
    assert f"PyTorch {torch.__version__}" in main
    assert str(datetime.date.today().year) in main
    assert "<td>Seed</td><td>0 of the clusters" in main
    assert not re.search(r"<(script|link|img)\b[^>]*\b(src|href)=.(?!data:)", text)
    assert "By hand" in text
    assert "import core" in text


def test_layers_that_were_trained_together_have_no_bars():
    assert "The layers of odm were trained together" in report.report(trained()).decode()


def test_the_script_says_what_it_needs():
    head = script.code(plain()).split("import core")[0]
    assert "pip install -e ." in head
    assert f"PyTorch {torch.__version__}" in head
